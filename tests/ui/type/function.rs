use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    callback: fn(u64) -> u64,
    boxed: Box<dyn Fn(u64)>,
}

fn main() {}
