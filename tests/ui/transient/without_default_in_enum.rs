use checkpoint::Checkpointable;

struct Socket;

#[derive(Checkpointable)]
struct Session {
    #[transient]
    socket: Socket,
}

#[derive(Checkpointable)]
enum State {
    Open(Session),
    Closed,
}

fn main() {}
