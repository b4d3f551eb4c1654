use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(version = 2)]
    field: u64,
}

fn main() {}
