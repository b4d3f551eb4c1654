use checkpoint::Checkpointable;

struct Socket;

#[derive(Checkpointable)]
struct Session {
    number: u64,
    #[transient]
    socket: Socket,
}

#[derive(Checkpointable)]
struct Pe {
    in_place: Session,
    all: Vec<Session>,
}

fn main() {}
