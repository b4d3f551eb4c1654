use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(crate = checkpoint)]
struct Pe {
    field: u64,
}

fn main() {}
