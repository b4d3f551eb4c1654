use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(crate = "check point")]
struct Pe {
    field: u64,
}

fn main() {}
