use checkpoint::Checkpointable;

const VERSION: u32 = 1;

#[derive(Checkpointable)]
struct Pe {
    #[checkpoint(serde, version = "1")]
    text: u64,
    #[checkpoint(serde, version = VERSION)]
    constant: u64,
    #[checkpoint(serde, version = -1)]
    negative: u64,
    #[checkpoint(serde, version = 4294967296)]
    large: u64,
    #[checkpoint(serde, version)]
    missing: u64,
}

fn main() {}
