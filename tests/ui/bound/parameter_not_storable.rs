use checkpoint::Checkpointable;

struct Money(u64);

#[derive(Checkpointable)]
struct Pe<T> {
    value: T,
}

fn is_storable<T: Checkpointable>() {}

fn main() {
    is_storable::<Pe<u64>>();
    is_storable::<Pe<Money>>();
}
