use checkpoint::Checkpointable;

struct Socket;

#[derive(Checkpointable)]
struct Session {
    #[transient]
    socket: Socket,
}

#[derive(Checkpointable)]
struct Outer {
    session: Session,
}

#[derive(Checkpointable)]
struct Pe {
    outer: Option<Outer>,
}

fn main() {}
