use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(bound = "T: Clone")]
struct Pe<T> {
    value: T,
}

fn main() {}
