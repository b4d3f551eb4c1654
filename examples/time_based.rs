//! Checkpoints by time: what changes is stored within the interval, what does not costs nothing.
//!
//! A thousand sensors report; a few of them again and again. Each is stored once per interval at
//! the most, however often it reports.
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::thread;
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, SafeKeeper,
};

const SENSORS: u32 = 1000;
const BUSY_SENSORS: u32 = 10;
const ROUNDS: u32 = 60;

#[derive(Checkpointable, Default)]
struct Sensor {
    reports: u64,
    highest: f64,
}

fn main() -> anyhow::Result<()> {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    let mode = CheckpointingMode::Time(Duration::from_millis(100));
    let sensors = keeper
        .prototype::<u32, Sensor>("sensor")
        .config(CheckpointingConfig::builder(mode).build()?)
        .create(|_number| Sensor::default())
        .build()?;

    for round in 0..ROUNDS {
        let sensors_now = if round == 0 { SENSORS } else { BUSY_SENSORS };
        for number in 0..sensors_now {
            sensors.process(number, |sensor| {
                sensor.reports += 1;
                sensor.highest = sensor.highest.max(f64::from(number * round));
            })?;
        }
        #[expect(clippy::disallowed_methods, reason = "the sensors report in real time")]
        thread::sleep(Duration::from_millis(10));
    }

    let stats = keeper.stats();
    println!("{} reports", SENSORS + (ROUNDS - 1) * BUSY_SENSORS);
    println!("{} checkpoints before the close", stats.stored);
    println!("oldest change that is not stored: {:?}", stats.oldest_change.unwrap_or_default());
    let report = keeper.close(Duration::from_secs(10))?;
    println!("{} checkpoints by the close", report.saved);
    Ok(())
}
