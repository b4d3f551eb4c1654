use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(crate = "checkpoint")]
    field: u64,
}

fn main() {}
