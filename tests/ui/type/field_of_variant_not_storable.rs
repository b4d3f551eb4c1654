use checkpoint::Checkpointable;

struct Money(u64);

#[derive(Checkpointable)]
enum Event {
    Paid { amount: Money },
}

fn main() {}
