use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(skip)]
    skipped: u64,
    #[checkpoint(transient)]
    transient: u64,
}

fn main() {}
