//! Changes so many keys while nothing can be stored, and prints what that costs.
//!
//! Arguments: how many keys, and `off` (no checkpointing) or `blocked` (every change is due at
//! once, over a storage that does not answer). Prints `peak KIB`, the most memory that was
//! resident; `blocked` then lets the storage answer, and prints
//! `requested N stored N failed N in_flight N due N` when all is stored.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use checkpoint::{CheckpointingConfig, CheckpointingMode, InMemoryStorage, SafeKeeper};
use checkpoint_tests::{Unsteady, Weather};

/// How often each key is changed.
const ROUNDS: u64 = 2;
/// Bytes of captured states that a keeper may hold.
const CAPTURED_BYTES_MAX: usize = 2 << 20;
/// Captured states that may wait for the storage.
const CAPTURES_MAX: usize = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [keys, what] = arguments.as_slice() else {
        return Err("usage: dirty_keys KEYS off|blocked".into());
    };
    let (keys, is_off) = (keys.parse::<u64>()?, what == "off");
    let storage = Unsteady::new(InMemoryStorage::new(), Weather::Stuck);
    let keeper = SafeKeeper::builder(storage.clone())
        .captured_bytes_max(CAPTURED_BYTES_MAX.try_into()?)
        .storage_max_outstanding_requests(CAPTURES_MAX.try_into()?)
        .build()?;
    let each = CheckpointingMode::EventCount(1.try_into()?);
    let mode = if is_off { CheckpointingMode::None } else { each };
    let numbers = keeper
        .prototype::<u64, [u64; 12]>("numbers")
        .config(CheckpointingConfig::builder(mode).build()?)
        .create(|_| [0; 12])
        .build()?;
    for _ in 0..ROUNDS {
        for key in 0..keys {
            numbers.process(key, |numbers| numbers[0] += 1)?;
        }
    }
    let mut out = io::stdout();
    writeln!(out, "peak {}", peak_kib()?)?;
    if is_off {
        // Nothing of it is to be stored: that would be measured next.
        std::process::exit(0);
    }
    storage.set(Weather::Fair);
    numbers.flush(Duration::from_secs(300))?;
    let stats = keeper.stats();
    writeln!(
        out,
        "requested {} stored {} failed {} in_flight {} due {}",
        stats.requested, stats.stored, stats.failed, stats.in_flight, stats.due
    )?;
    Ok(())
}

fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(number.parse()?)
}
