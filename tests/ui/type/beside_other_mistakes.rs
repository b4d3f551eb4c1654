use checkpoint::Checkpointable;

struct Money(u64);

#[derive(Checkpointable)]
struct Pe<'a, T> {
    balance: Money,
    #[checkpoint(serde)]
    credit: Money,
    #[checkpoint(version = 1)]
    debit: Money,
    name: &'a str,
    value: T,
    number: u64,
}

fn main() {}
