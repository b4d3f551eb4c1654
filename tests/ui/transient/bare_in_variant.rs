use checkpoint::Checkpointable;

#[derive(Checkpointable)]
enum Event {
    Named {
        number: u64,
        #[transient]
        cache: u64,
    },
    Tuple(u8, #[transient] u16),
}

fn main() {}
