use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe<'a> {
    name: &'a str,
}

fn main() {}
