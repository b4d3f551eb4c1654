use checkpoint::Checkpointable;

use std::collections::HashMap;

struct Money(u64);

#[derive(Checkpointable)]
struct Pe {
    list: Vec<Money>,
    map: HashMap<String, Money>,
}

fn main() {}
