use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[transient = 5]
    field: u64,
}

fn main() {}
