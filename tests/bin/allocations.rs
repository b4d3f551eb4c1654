//! Counts what is allocated on the way of each event and of each save, prints it, and fails where
//! that is more than it may be.
//!
//! A program of its own, so that nothing else allocates meanwhile. It counts the saves in release
//! builds only: `cargo run --release -p checkpoint-tests --bin allocations`, as `tests/run` does.

use std::alloc::System;
use std::error::Error;
use std::io::{self, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype, Pool,
    SafeKeeper, StateStorage,
};
use checkpoint_tests::AppendSink;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: u64 = 10_000;
/// A run has room for the shards that it holds and for the events that it draws.
const IN_RUN_MAX: usize = 4;
/// Batches and shards have room of their own, which is less than one in ten saves.
const IN_SAVES_MAX: usize = 1_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Checkpointable)]
struct State {
    events: u64,
    bytes: Vec<u8>,
}

fn keeper(storage: impl StateStorage + 'static) -> Result<SafeKeeper> {
    Ok(SafeKeeper::builder(storage).stepped().build()?)
}

/// A prototype with all PEs in memory, each after its first event.
fn states(keeper: &SafeKeeper, mode: CheckpointingMode) -> Result<PePrototype<u64, State>> {
    let config = CheckpointingConfig::builder(mode).build()?;
    let new = |_: &u64| State { events: 0, bytes: vec![0; 100] };
    let states = keeper.prototype("states").config(config).create(new).build()?;
    for key in 0..KEYS {
        states.process(key, |pe| pe.events += 1)?;
    }
    Ok(states)
}

/// Runs `work`, and checks how many allocations and reallocations it made.
fn check(what: &str, allowed: usize, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let region = Region::new(ALLOCATOR);
    work()?;
    let change = region.change();
    let allocated = change.allocations + change.reallocations;
    writeln!(io::stdout(), "{what:<16} {allocated:>5} allocations, {allowed} allowed")?;
    if allocated > allowed {
        return Err(format!("{what}: {allocated} allocations for {KEYS} keys").into());
    }
    Ok(())
}

/// The same of an event of each key.
fn check_events(way: &str, mut event: impl FnMut(u64) -> Result<()>) -> Result<()> {
    check(way, 0, || (0..KEYS).try_for_each(&mut event))
}

/// What a future gives that has nothing to wait for, as all PEs are there.
fn at_once<F: Future>(future: F) -> Result<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err("an event of a PE that is there had to wait".into()),
    }
}

fn events() -> Result<()> {
    let keeper = keeper(InMemoryStorage::new())?;
    let pes = states(&keeper, CheckpointingMode::None)?;
    check_events("process", |key| Ok(pes.process(key, |pe| pe.events += 1)?))?;
    check_events("try_process", |key| {
        Ok(pes.try_process(key, |pe| -> std::result::Result<(), &str> {
            pe.events += 1;
            Ok(())
        })??)
    })?;
    check_events("read", |key| Ok(pes.read(key, |_| ())?))?;
    check_events("pe", |key| {
        pes.pe(key)?.events += 1;
        Ok(())
    })?;
    check_events("process_async", |key| {
        Ok(at_once(pes.process_async(key, |pe| pe.events += 1))??)
    })?;
    check_events("read_async", |key| Ok(at_once(pes.read_async(key, |_| ()))??))?;
    check_events("pe_async", |key| {
        at_once(pes.pe_async(key))??;
        Ok(())
    })?;
    check("session", IN_RUN_MAX, || {
        let events = (0..KEYS).map(|key| (key, 1));
        pes.session().run(events, |pe, more: u64| pe.events += more)?;
        Ok(())
    })
}

fn saves() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let keeper = keeper(AppendSink::create(&directory.path().join("sink"))?)?;
    let pes = states(&keeper, CheckpointingMode::EventCount(1.try_into()?))?;
    let pools = [Pool::Timing, Pool::Serialization, Pool::Storage];
    let round = || {
        for key in 0..KEYS {
            pes.process(key, |pe| pe.events += 1)?;
        }
        while pools.iter().any(|pool| keeper.step(*pool)) {}
        Ok(())
    };
    // What grows to its size in the first rounds is used again in later ones.
    round()?;
    round()?;
    let stored = keeper.stats().stored;
    check("save", IN_SAVES_MAX, round)?;
    let saves = keeper.stats().stored - stored;
    if saves != KEYS {
        return Err(format!("{saves} saves instead of {KEYS}").into());
    }
    keeper.close(Duration::from_secs(10))?;
    Ok(())
}

fn main() -> Result<()> {
    events()?;
    if cfg!(debug_assertions) {
        // There each capture is decoded again and compared, which does allocate.
        writeln!(io::stdout(), "saves are counted in release builds")?;
        return Ok(());
    }
    saves()
}
