use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(bounds = "")]
struct Pe {
    field: u64,
}

fn main() {}
