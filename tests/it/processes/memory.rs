//! Memory has bounds: H1, H3 (of cold keys see `cold_keys`), T13; and where it ends all the same,
//! nothing is half stored: A8, T14.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use checkpoint::{RandomSource, SeededRandom};
use checkpoint_tests::{Backend, Quota, first_seed};

use crate::processes::measured::{measured, numbers};
use crate::processes::store::{OUTSTANDING_MAX, Store};
use crate::processes::writer::Writer;
use crate::processes::{places, show};

const DIRTY_KEYS: &str = env!("CARGO_BIN_EXE_dirty_keys");
/// As the program sets them: 2 MiB, and 2048 captures, of which each has half a KiB of its own.
const CAPTURED_KIB_MAX: u64 = (2 << 10) + 2048 / 2;
/// What a dirty key may cost beside its state: marks, and its place in a queue.
const BYTES_PER_DIRTY_KEY: u64 = 16;

#[test]
fn all_keys_dirty_over_a_blocked_storage_take_bounded_memory_and_none_is_forgotten() {
    let keys = Quota::DIRTY_KEYS.get();
    let off = numbers(&measured(DIRTY_KEYS, keys, "off")[0])[0];
    let blocked = measured(DIRTY_KEYS, keys, "blocked");
    let peak = numbers(&blocked[0])[0];
    let seen = format!("{keys} dirty keys: {peak} KiB, {off} KiB without checkpoints: {blocked:?}");
    show(&seen);
    let bound = CAPTURED_KIB_MAX + keys * BYTES_PER_DIRTY_KEY / 1024;
    assert!(peak.saturating_sub(off) <= bound * 12 / 10, "{seen}; more than {bound} KiB");
    // Each time that a PE became due it was captured once, and nothing is left.
    let [requested, stored, failed, in_flight, due] = numbers(&blocked[1])[..] else {
        panic!("{seen}")
    };
    assert!(requested >= keys, "{seen}");
    assert_eq!((requested, failed, in_flight, due), (stored, 0, 0, 0), "{seen}");
}

#[test]
fn an_event_of_a_resident_pe_allocates_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_allocations")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
}

/// A writer with a limit on its memory, of which it takes more and more.
fn starved(store: &Store, seed: u64, limit_kib: u64) -> Writer {
    let script = format!(
        "ulimit -c 0 && ulimit -v {limit_kib} && \
         exec \"$0\" {} \"$1\" {seed} {OUTSTANDING_MAX} hungry",
        store.backend().name()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_writer")]).arg(store.root());
    // The runtime says there that it has no memory.
    Writer::start_by(command.stderr(Stdio::null()))
}

#[test]
fn a_process_that_runs_out_of_memory_leaves_nothing_half_stored() {
    check_starved(Backend::Files);
}

#[test]
fn a_process_that_runs_out_of_memory_leaves_a_log_whole() {
    check_starved(Backend::Log);
}

/// I6, H3: a process that aborts, wherever it was.
#[track_caller]
fn check_starved(backend: Backend) {
    let (seed, deaths) = (first_seed(), (Quota::KILLS.get() / 100).max(4));
    let random = SeededRandom::new(seed);
    let directory = places::in_memory();
    let mut store = Store::new(backend, directory.path().join("state"));
    let mut aborted = 0;
    for death in 0..deaths {
        // Threads and their stacks need some hundred MiB of address space.
        let limit_kib = 600_000 + random.next_u64() % 100_000;
        let mut writer = starved(&store, seed ^ random.next_u64(), limit_kib);
        let (status, acknowledged) = writer.ended();
        let context = format!("CHECKPOINT_SEED={seed}, death {death}: {status}");
        assert!(!status.success() && writer.has_printed("ready"), "{context}");
        aborted += u64::from(status.signal() == Some(6));
        store.note(&acknowledged);
        store.check_leftovers(&context);
        store.check(&context);
    }
    let seen = format!(
        "{deaths} processes ran out of memory, {aborted} of them aborted; {} acknowledgements",
        store.acknowledged
    );
    show(&seen);
    assert!(aborted > 0 && store.acknowledged > deaths, "{seen}");
}
