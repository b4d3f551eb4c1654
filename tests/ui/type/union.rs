use checkpoint::Checkpointable;

#[derive(Checkpointable)]
union Number {
    integer: u64,
    float: f64,
}

fn main() {}
