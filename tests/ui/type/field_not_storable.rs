use checkpoint::Checkpointable;

struct Money(u64);

#[derive(Checkpointable)]
struct Pe {
    number: u64,
    money: Money,
}

fn main() {}
