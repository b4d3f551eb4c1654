use checkpoint::Checkpointable;

struct Socket;

#[derive(Checkpointable)]
struct Pe {
    number: u64,
    #[transient(default)]
    socket: Socket,
}

fn main() {}
