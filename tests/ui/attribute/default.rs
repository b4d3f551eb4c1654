use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(default)]
    field: u64,
}

fn main() {}
