use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint]
struct Pe {
    #[checkpoint()]
    field: u64,
}

fn main() {}
