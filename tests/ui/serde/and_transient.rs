use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[transient]
    #[checkpoint(serde, version = 1)]
    field: u64,
}

fn main() {}
