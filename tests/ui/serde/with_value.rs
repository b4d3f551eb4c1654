use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(serde = true, version = 1)]
    field: u64,
}

fn main() {}
