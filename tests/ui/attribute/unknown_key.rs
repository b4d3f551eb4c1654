use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(sered, version = 1)]
    field: u64,
}

fn main() {}
