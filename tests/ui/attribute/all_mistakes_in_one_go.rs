use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(serde)]
struct Pe {
    #[checkpoint(serde)]
    first: u64,
    #[transient(defualt)]
    second: u64,
    #[checkpoint(version = 1)]
    third: u64,
    #[transient]
    #[transient]
    fourth: u64,
}

// The type is taken as storable nevertheless: no further messages.
fn is_storable<T: Checkpointable>() {}

fn main() {
    is_storable::<Vec<Pe>>();
}
