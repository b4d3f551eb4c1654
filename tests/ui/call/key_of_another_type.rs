use checkpoint::{PePrototype, ProcessError};

fn count(by_number: &PePrototype<u64, u64>, by_name: &PePrototype<String, u64>) {
    let _: Result<(), ProcessError> = by_number.process("alice", |pe| *pe += 1);
    let _: Result<(), ProcessError> = by_name.process(7, |pe| *pe += 1);
}

fn main() {}
