use checkpoint::Checkpointable;

#[derive(Checkpointable)]
enum Event {
    #[transient]
    First(u64),
    #[checkpoint(serde, version = 1)]
    Second,
}

fn main() {}
