use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[repr(C, packed)]
struct Pe {
    small: u8,
    large: u64,
}

fn main() {}
