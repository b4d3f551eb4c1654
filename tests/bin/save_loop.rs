//! Saves states into a file system store until it is killed, and prints what was acknowledged.
//!
//! Arguments: the directory, a seed, how many batches (0: for ever), and maybe a program to start
//! meanwhile, which is given the standard input. Prints `open EPOCH`, and for each acknowledged
//! state `stored KEY EPOCH SEQUENCE 0`; the last word tells a line that was cut off.

use std::error::Error;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, RandomSource, SaveOutcome, SeededRandom,
    StateStorage, StateVersion,
};

const KEYS: u64 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: save_loop DIRECTORY SEED BATCHES");
    let root = next()?;
    let random = SeededRandom::new(next()?.parse()?);
    let batches: u64 = next()?.parse()?;

    let storage = DefaultFileSystemStateStorage::open(root)?;
    if let Ok(program) = next() {
        // Left behind: it goes on when this process is killed.
        Command::new(program).stdout(Stdio::null()).spawn()?;
    }
    let epoch = storage.open_epoch(0)?;
    let mut out = io::stdout().lock();
    writeln!(out, "open {}", epoch.0)?;
    let mut sequence = 0;
    let mut batch = 0;
    while batches == 0 || batch < batches {
        batch += 1;
        // From one state to a batch that shares its syncs.
        let mut keys: Vec<_> =
            (0..=random.next_u64() % 16).map(|_| random.next_u64() % KEYS).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut versions = Vec::new();
        let mut records = Vec::new();
        for key in keys {
            sequence += 1;
            let version = StateVersion::new(epoch.0, sequence);
            let mut payload = format!("{key} {} {sequence} ", epoch.0).into_bytes();
            payload.resize(payload.len() + (random.next_u64() % 5_000) as usize, b'x');
            let id = CheckpointId::new("p", key.to_string())?;
            records.push(conformance::record(&id, version, &payload));
            versions.push((key, sequence));
        }
        let outcomes = conformance::save(&storage, &records);
        for ((key, sequence), outcome) in versions.into_iter().zip(outcomes) {
            match outcome {
                SaveOutcome::Stored => writeln!(out, "stored {key} {} {sequence} 0", epoch.0)?,
                other => return Err(format!("saving {key}: {other:?}").into()),
            }
        }
        out.flush()?;
    }
    Ok(())
}
