//! Applies events to a thousand accounts, checkpointed into a store, until it is killed, and prints
//! what was acknowledged.
//!
//! Arguments: `files` or `log`, the directory, a seed, how many captured states may be outstanding,
//! and maybe `hungry`, to take more memory with each event and never give it back. Prints `start`;
//! `ready` when the store is open and some accounts were restored; from then on
//! `stored KEY EPOCH SEQUENCE .` for each acknowledged version, and now and then
//! `holds KEY POSITION .`: all events up to that one are stored. The dot tells a line that was cut
//! off. What must not be is printed as `wrong …`, and ends the process.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    CheckpointTicket, CheckpointingConfig, CheckpointingMode, PePrototype, ProcessError,
    RandomSource, SafeKeeper, SaveFailure, SeededRandom, StorageCallback, StorageCallbackFactory,
    StorageResult, StorageResultCode,
};
use checkpoint_tests::{Account, Backend};

const EATEN_BYTES: usize = 500;
const PARTITIONS: u32 = 4;
const KEYS: u64 = 1000;
/// Fewer than there are keys, so that accounts leave the memory and come back.
const CAPACITY: usize = 700;
/// How many accounts are restored before the first event.
const RESTORED_FIRST: u64 = 100;
/// However busy the machine is: a disk that takes 100 ms for each sync has an account wait for its
/// place for more than 10 s.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many of the events of an account are sent once more after a restart.
const REPLAYED: u64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let usage = "usage: writer files|log DIRECTORY SEED OUTSTANDING_MAX [hungry]";
    let [backend, root, seed, outstanding_max, is_hungry @ ..] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let backend = Backend::named(backend).ok_or(usage)?;
    let is_hungry = !is_hungry.is_empty();
    print("start");
    let random = SeededRandom::new(seed.parse()?);
    let outstanding_max: NonZeroUsize = outstanding_max.parse()?;
    let two = NonZeroUsize::MIN.saturating_add(1);
    let keeper = SafeKeeper::builder_over(backend.open(root)?)
        .partitions(PARTITIONS.try_into()?)
        .storage_max_threads(two)
        .serialization_max_threads(two)
        .storage_max_outstanding_requests(outstanding_max)
        .fetching_max_wait(PATIENCE)
        .storage_callback_factory(Acknowledgements)
        .build()?;
    let interval = Duration::from_millis(1 + random.next_u64() % 20);
    let event_count = (1 + random.next_u64() % 8).try_into()?;
    let mode = CheckpointingMode::EventCountOrTime { event_count, interval };
    let capacity = NonZeroUsize::new(CAPACITY).ok_or("no capacity")?;
    let accounts = keeper
        .prototype::<u64, Account>("account")
        .config(CheckpointingConfig::builder(mode).capacity(capacity).wait_max(PATIENCE).build()?)
        .create(|key| Account::new(*key))
        .build()?;
    let mut source = Source { accounts, sent: HashMap::new(), requested: Vec::new() };
    for _ in 0..RESTORED_FIRST {
        source.position(random.next_u64() % KEYS)?;
    }
    print("ready");
    let mut eaten = Vec::new();
    loop {
        if is_hungry {
            // In small pieces: it is as likely that a thread of the keeper gets nothing any more.
            eaten.extend((0..200).map(|_| vec![1_u8; EATEN_BYTES]));
        }
        // Some accounts are busier than others.
        let among = if random.next_u64().is_multiple_of(2) { KEYS } else { KEYS / 20 };
        source.send(random.next_u64() % among)?;
        if random.next_u64().is_multiple_of(50) {
            source.request(random.next_u64() % KEYS)?;
        }
    }
}

/// Sends each account its events, in the order of their numbers, and checks what it finds there.
struct Source {
    accounts: PePrototype<u64, Account>,
    // The number of the last event that was sent to an account, or found in it.
    sent: HashMap<u64, u64>,
    requested: Vec<(u64, u64, CheckpointTicket)>,
}

impl Source {
    fn position(&mut self, key: u64) -> Result<u64, ProcessError> {
        if let Some(position) = self.sent.get(&key) {
            return Ok(*position);
        }
        let (checked, position) =
            self.accounts.read(key, |account| (account.check(key), account.position()))?;
        checked.unwrap_or_else(|what| wrong(&what));
        self.sent.insert(key, position);
        // The source does not know how far the account came, and begins a little earlier.
        for number in position.saturating_sub(REPLAYED)..=position {
            self.apply(key, number, position)?;
        }
        Ok(position)
    }

    fn send(&mut self, key: u64) -> Result<(), ProcessError> {
        let before = self.position(key)?;
        self.apply(key, before + 1, before)?;
        self.sent.insert(key, before + 1);
        Ok(())
    }

    /// Has an account apply an event, unless it has it already.
    fn apply(&self, key: u64, number: u64, before: u64) -> Result<(), ProcessError> {
        let found = self.accounts.process(key, |account| {
            let found = account.position();
            if number > found {
                account.apply(number);
            }
            found
        })?;
        if found != before {
            wrong(&format!("{key}: at {found}, was at {before}"));
        }
        Ok(())
    }

    /// Asks for a checkpoint, and tells of those that were asked for earlier.
    fn request(&mut self, key: u64) -> Result<(), ProcessError> {
        for (key, position, ticket) in std::mem::take(&mut self.requested) {
            match ticket.outcome() {
                None => self.requested.push((key, position, ticket)),
                Some(Ok(_)) => print(&format!("holds {key} {position} .")),
                Some(Err(err)) if matches!(err.reason(), SaveFailure::Overloaded) => {}
                Some(Err(err)) => failed(&err.to_string()),
            }
        }
        let position = self.position(key)?;
        self.requested.push((key, position, self.accounts.checkpoint(key)?));
        Ok(())
    }
}

/// Prints what is stored.
struct Acknowledgements;

impl StorageCallbackFactory for Acknowledgements {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(Self)
    }
}

impl StorageCallback for Acknowledgements {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let (StorageResultCode::Success, Some(version)) = (result.code, result.version) else {
            failed(&format!("{result:?}"));
        };
        let key: Result<[u8; 8], _> = result.id.key.try_into();
        let key = key.map(u64::from_be_bytes).unwrap_or_else(|_| wrong(&result.id.to_string()));
        print(&format!("stored {key} {} {} .", version.epoch.0, version.sequence.0));
    }
}

fn print(line: &str) {
    let mut out = io::stdout().lock();
    let printed = writeln!(out, "{line}").and_then(|()| out.flush());
    if printed.is_err() {
        // Nobody listens any more.
        std::process::exit(2);
    }
}

/// Ends the process because the system refused something; nothing is wrong with that.
fn failed(what: &str) -> ! {
    print(&format!("failed {what}"));
    std::process::exit(3);
}

fn wrong(what: &str) -> ! {
    print(&format!("wrong {what}"));
    std::process::exit(1);
}
