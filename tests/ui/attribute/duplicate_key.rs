use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(crate = "checkpoint", crate = "checkpoint")]
struct Pe {
    #[checkpoint(serde, serde, version = 1)]
    #[checkpoint(version = 2)]
    field: u64,
}

fn main() {}
