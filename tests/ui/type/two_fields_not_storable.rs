use checkpoint::Checkpointable;

use std::net::TcpStream;
use std::sync::mpsc::Sender;

#[derive(Checkpointable)]
struct Pe {
    stream: TcpStream,
    sender: Sender<u64>,
}

fn main() {}
