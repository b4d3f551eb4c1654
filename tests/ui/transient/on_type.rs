use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[transient]
struct Pe {
    field: u64,
}

fn main() {}
