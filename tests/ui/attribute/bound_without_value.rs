use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(bound)]
struct Pe<T> {
    field: T,
}

fn main() {}
