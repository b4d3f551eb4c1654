use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(serde, version = 1)]
struct Pe {
    field: u64,
}

fn main() {}
