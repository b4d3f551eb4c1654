use checkpoint::Checkpointable;

struct Money(u64);

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(serde, version = 1)]
    money: Money,
}

fn main() {}
