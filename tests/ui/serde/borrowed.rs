use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe<'a> {
    #[checkpoint(serde, version = 1)]
    name: &'a str,
}

fn main() {}
