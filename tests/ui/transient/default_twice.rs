use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[transient(default, default = 3)]
    field: u64,
}

fn main() {}
