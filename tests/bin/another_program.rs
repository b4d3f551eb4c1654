//! Restores what the example `stateful_pe` stored: another program, with a type of another name.

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use checkpoint::{Checkpointable, LogStorage, SafeKeeper};

/// The same stored fields in the same order; nothing else has to be the same.
#[derive(Checkpointable, Default)]
struct TwoValues {
    value1: String,
    value2: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("usage: another_program DIR")?;
    let keeper = SafeKeeper::builder(LogStorage::open(root)?).build()?;
    let prototype = keeper
        .prototype::<String, TwoValues>("stateful")
        .create(|_key| TwoValues::default())
        .build()?;
    let values = prototype.process("key", |pe| {
        pe.value2 = "message2".to_owned();
        format!("value1={} ; value2={}", pe.value1, pe.value2)
    })?;
    writeln!(stdout(), "{values}")?;
    keeper.close(Duration::from_secs(10))?;
    Ok(())
}
