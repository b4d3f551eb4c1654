use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[transient]
    #[transient(default)]
    field: u64,
}

fn main() {}
