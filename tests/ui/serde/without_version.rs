use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(serde)]
    field: u64,
}

fn main() {}
