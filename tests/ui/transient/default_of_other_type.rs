use checkpoint::Checkpointable;

#[derive(Checkpointable)]
struct Pe {
    #[transient(default = "text")]
    number: u64,
}

fn main() {}
