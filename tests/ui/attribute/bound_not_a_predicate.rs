use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(bound = "T")]
struct Pe<T> {
    field: T,
}

fn main() {}
