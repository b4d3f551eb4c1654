use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[transient(defaults)]
    near: u64,
    #[transient(skip = true)]
    far: u64,
    #[transient()]
    empty: u64,
}

fn main() {}
