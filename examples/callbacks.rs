//! Who wants to know what becomes of checkpoints: a callback for each result, tickets, statistics.
//!
//! The storage of this program fails for a while, so that there is something to tell.
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, SafeKeeper,
    StorageCallback, StorageCallbackFactory, StorageResult, StorageResultCode,
};
use checkpoint_examples::FailingStorage;

/// A balance that one would not like to lose.
#[derive(Checkpointable, Default)]
struct Account {
    cents: i64,
}

/// Makes the callback of each prototype.
struct Callbacks {
    failures: Arc<AtomicU64>,
}

impl StorageCallbackFactory for Callbacks {
    fn create_storage_callback(&self, prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(Printer { prototype: prototype.to_owned(), failures: Arc::clone(&self.failures) })
    }
}

/// Prints the result of each capture. It is called once for each, from a thread of the storage
/// pool.
struct Printer {
    prototype: String,
    failures: Arc<AtomicU64>,
}

impl StorageCallback for Printer {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let Self { prototype, failures } = self;
        match (result.code, &result.error) {
            (StorageResultCode::Success, _) => println!(
                "{prototype}: {} stored at attempt {}, {} bytes",
                result.id, result.attempts, result.record_bytes
            ),
            (StorageResultCode::Failure, error) => {
                failures.fetch_add(1, Ordering::Relaxed);
                let why = error.as_ref().map(ToString::to_string).unwrap_or_default();
                println!("{prototype}: {} not stored: {why}", result.id);
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    // Each of the first three saves fails, as if a disk were full for a moment.
    let storage = FailingStorage::new(InMemoryStorage::new(), 3);
    let failures = Arc::new(AtomicU64::new(0));
    let keeper = SafeKeeper::builder(storage)
        .storage_callback_factory(Callbacks { failures: Arc::clone(&failures) })
        // A capture is given up, reported and made anew after two attempts.
        .save_attempts_max(2.try_into()?)
        .save_backoff_min(Duration::from_millis(1))
        .build()?;
    let config = CheckpointingConfig::builder(CheckpointingMode::EventCount(1.try_into()?));
    let accounts = keeper
        .prototype::<String, Account>("account")
        .config(config.build()?)
        .create(|_owner| Account::default())
        .build()?;

    // The event is not held up by the storage, and never sees its failures.
    accounts.process("alice", |account| account.cents += 100)?;

    // A ticket tells what became of the state as it is now, or of a newer one.
    let ticket = accounts.checkpoint("alice")?;
    match ticket.wait() {
        Ok(version) => println!("the ticket: stored as {version:?}"),
        Err(err) => println!("the ticket: {err}"),
    }

    // What failed is tried again without another event, until it is stored.
    keeper.close(Duration::from_secs(10))?;
    let stats = keeper.stats();
    println!("{} stored, {} failed, {} retried", stats.stored, stats.failed, stats.retried);
    anyhow::ensure!(stats.failed == failures.load(Ordering::Relaxed), "each failure is told once");
    Ok(())
}
