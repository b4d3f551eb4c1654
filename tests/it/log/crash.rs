//! The machine dies between any two file operations of a log's life, and again during recovery; or
//! one of them fails, and it dies later (A1 to A6, B3, B4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use checkpoint::{FileOps, StorageError};
use checkpoint_tests::Quota;
use checkpoint_tests::simulation::{Fate, Left, Machine};

use super::workload::{After, Workload};
use crate::processes::show;

const ROOT: &str = "/simulated";
const SEED: u64 = 1;

/// What is left by a crash, and the seed that draws it.
const LEFT: &[(Left, u64)] =
    &[(Left::All, 0), (Left::Synced, 0), (Left::Drawn, 1), (Left::Drawn, 2), (Left::Drawn, 3)];

fn never(err: &StorageError) -> After {
    panic!("nothing is to fail here: {err}: {:?}", std::error::Error::source(err))
}

/// Copies what a crash has left.
fn crashed(machine: &Machine, (left, seed): (Left, u64)) -> Machine {
    let copy = machine.copy(seed);
    copy.crash(left);
    copy
}

/// Opens a log with a disk that works, and checks it. Returns how many operations that took.
fn recover(machine: &Machine, workload: &mut Workload) -> u64 {
    let files: Arc<dyn FileOps> = machine.start(Fate::default());
    let before = machine.operations();
    let log = workload.open(ROOT, &files, &mut never).unwrap();
    let operations = machine.operations() - before;
    workload.check_opened(&log, &*files);
    operations
}

/// Has the power go during each operation of a recovery, and checks what the next one finds.
fn crash_recoveries(machine: &Machine, workload: &Workload, operations: u64) {
    for off_after in 0..operations {
        let first = machine.copy(off_after);
        let files = first.start(Fate { off_after: Some(off_after), ..Fate::default() });
        let mut workload = workload.clone();
        // Nobody looks at it.
        drop(workload.open(ROOT, &files, &mut |_| After::Over));
        let left = if off_after % 2 == 0 { Left::Synced } else { Left::Drawn };
        recover(&crashed(&first, (left, off_after)), &mut workload);
    }
}

/// Does `work` for as many of the operations of a life as the quota says, evenly chosen, on all
/// processors. Returns for how many.
fn for_each_operation(work: impl Fn(u64) + Sync) -> u64 {
    let machine = Machine::new(SEED);
    let files = machine.start(Fate::default());
    Workload::new().live(ROOT, &files, &mut never).unwrap();
    let operations = machine.operations();
    assert!(operations > 300, "{operations}");
    let step = operations.div_ceil(Quota::LOG_CRASHES.get().max(1));
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(step, Ordering::Relaxed);
                    if at >= operations {
                        return;
                    }
                    work(at);
                }
            });
        }
    });
    operations.div_ceil(step)
}

#[test]
fn a_crash_at_any_operation_and_again_during_recovery_loses_nothing() {
    let recoveries = AtomicU64::new(0);
    let crashes = for_each_operation(|at| {
        let machine = Machine::new(SEED);
        let files = machine.start(Fate { off_after: Some(at), ..Fate::default() });
        let mut workload = Workload::new();
        assert!(workload.live(ROOT, &files, &mut |_| After::Over).is_err() || !machine.is_on());
        for left in LEFT {
            let left = crashed(&machine, *left);
            let mut after = workload.clone();
            let recovered = left.copy(at);
            let operations = recover(&recovered, &mut after);
            // Whoever reads has seen it: it must be there from now on.
            for again in [Left::All, Left::Synced] {
                recover(&crashed(&recovered, (again, at)), &mut after.clone());
            }
            recoveries.fetch_add(operations, Ordering::Relaxed);
            crash_recoveries(&left, &workload, operations);
        }
    });
    let recoveries = recoveries.into_inner();
    let seen = format!("{crashes} crashes, {recoveries} of them during a recovery again");
    show(&seen);
    assert!(recoveries > 50 * crashes, "{seen}");
}

#[test]
fn a_failure_of_any_operation_before_a_crash_loses_nothing() {
    for_each_operation(|at| {
        let machine = Machine::new(SEED);
        let files = machine.start(Fate { fails_at: Some(at), ..Fate::default() });
        let (mut workload, mut told) = (Workload::new(), 0);
        let mut again = |_: &StorageError| {
            told += 1;
            After::TryAgain
        };
        workload.live(ROOT, &files, &mut again).unwrap();
        // Power is lost while the log is open: nothing of it was closed.
        let log = workload.open(ROOT, &files, &mut again).unwrap();
        workload.save(&log, &["a", "once"], 100, &mut again).unwrap();
        for left in LEFT {
            recover(&crashed(&machine, *left), &mut workload.clone());
        }
    });
}
