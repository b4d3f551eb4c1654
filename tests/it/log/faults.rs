//! Each file operation of a log's life fails in turn: nothing acknowledged is lost, and saving goes
//! on by itself (B1 to B9, T7).

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;
use std::sync::Arc;

use checkpoint::{FileOps, StorageErrorKind};
use checkpoint_tests::Quota;
use rustix::io::Errno;

use super::workload::{After, Workload};
use crate::file_system::files_that_fail::FilesThatFail;
use crate::processes::show;

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Fails(Errno),
    /// A write, half of which is done before.
    FailsInTheMiddle(Errno),
}

/// What an error may be of.
fn kinds(errno: Errno) -> &'static [StorageErrorKind] {
    match errno {
        Errno::NOSPC => &[StorageErrorKind::Full],
        Errno::ROFS => &[StorageErrorKind::Forbidden],
        _ => &[StorageErrorKind::Unavailable, StorageErrorKind::Unreadable],
    }
}

/// What has come of a life during which an operation failed.
struct Lived {
    /// There was such an operation.
    has_failed: bool,
    /// Somebody was told.
    told: usize,
    /// The operation.
    operation: String,
    /// It was the rest of a write.
    is_rest: bool,
}

/// Lives with a fault in operation `at`, and checks everything.
fn live(at: usize, fault: Fault) -> Lived {
    let context = format!("operation {at}: {fault:?}");
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state").display().to_string();
    let files = FilesThatFail::new(root.as_ref());
    let script = files.script();
    let errno = match fault {
        Fault::Fails(errno) => {
            script.fail_at(at, errno);
            errno
        }
        Fault::FailsInTheMiddle(errno) => {
            script.fail_in_the_middle_of(at, errno);
            errno
        }
    };
    let ops: Arc<dyn FileOps> = Arc::new(files);
    let (mut workload, mut told) = (Workload::new(), 0);
    let lived = workload.live(&root, &ops, &mut |err| {
        told += 1;
        assert!(err.to_string().contains(&root), "{context}: {err} names no path");
        assert!(kinds(errno).contains(&err.kind()), "{context}: {err}: {:?}", err.kind());
        After::TryAgain
    });
    lived.unwrap();
    script.heal();
    let log = script.take_log();
    check_given_up(&log, &context);
    let failed_at = log.iter().position(|line| line.ends_with(&format!("{errno:?}")));
    let failed = failed_at.map(|at| log[at].clone());
    let is_rest = failed_at.is_some_and(|at| at > 0 && log[at].starts_with(&log[at - 1]));
    // Whoever opens it next finds what was told, and nothing that lies about.
    for _ in 0..2 {
        let log = workload.open(&root, &ops, &mut |err| panic!("{context}: {err}")).unwrap();
        workload.check_opened(&log, &*ops);
    }
    assert!(workload.acknowledged > 30 && workload.compacted > 5, "{context}");
    Lived { has_failed: failed.is_some(), told, operation: failed.unwrap_or_default(), is_rest }
}

/// A segment of which a write or a sync has failed is not written any more, nor synced again.
fn check_given_up(log: &[String], context: &str) {
    for (at, line) in log.iter().enumerate() {
        let Some((operation, _)) = line.split_once(": ") else { continue };
        let Some((what @ ("write" | "sync_data"), path)) = operation.split_once(' ') else {
            continue;
        };
        if !path.starts_with("segments/") {
            continue;
        }
        for later in &log[at + 1..] {
            let is_again = later.starts_with(&format!("write {path}"))
                || later.starts_with(&format!("sync_data {path}"));
            assert!(!is_again, "{context}: {later} after a failed {what}");
        }
    }
}

/// How many operations there are without any failure.
fn operations() -> usize {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state").display().to_string();
    let files = FilesThatFail::new(root.as_ref());
    let script = files.script();
    let ops: Arc<dyn FileOps> = Arc::new(files);
    Workload::new().live(&root, &ops, &mut |err| panic!("{err}")).unwrap();
    script.take_log().len()
}

/// Lets as many of the operations fail as the quota says, evenly chosen.
fn check_all_operations(fault: impl Fn(Errno) -> Fault, errno: Errno) {
    let operations = operations();
    assert!(operations > 300, "{operations}");
    let quota = usize::try_from(Quota::LOG_CRASHES.get()).unwrap();
    let (mut told, mut rests, mut kinds) = (0, 0, BTreeSet::new());
    let is_in_the_middle = matches!(fault(errno), Fault::FailsInTheMiddle(_));
    // The rest of the last operation of all is none.
    let last = operations - usize::from(is_in_the_middle);
    let step = operations.div_ceil(quota.max(1));
    for at in (0..last).step_by(step) {
        let lived = live(at, fault(errno));
        assert!(lived.has_failed, "operation {at} did not fail");
        told += usize::from(lived.told > 0);
        rests += usize::from(lived.is_rest && lived.operation.starts_with("write segments/"));
        let kind = lived.operation.split(' ').next().unwrap_or_default().to_owned();
        kinds.insert(kind);
    }
    show(&format!(
        "{fault:?} at every {step}. of {operations} operations, {told} times told: {kinds:?}",
        fault = fault(errno)
    ));
    // Most of the others are made good by the log itself, or concern what is not needed.
    assert!(told * 5 > last / step, "of {} failures only {told} were told", last / step);
    if step > 1 {
        return;
    }
    for kind in ["create_file", "list", "open_file", "read_at", "remove_file", "rename", "write"] {
        assert!(kinds.contains(kind), "{kind} did not fail: {kinds:?}");
    }
    assert!(kinds.contains("sync_data") || is_in_the_middle, "{kinds:?}");
    assert!(kinds.contains("sync_directory") && kinds.contains("try_lock"), "{kinds:?}");
    assert_eq!(rests > 20, is_in_the_middle, "{rests} writes were cut off");
}

#[test]
fn an_io_error_of_any_operation_loses_nothing() {
    check_all_operations(Fault::Fails, Errno::IO);
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing() {
    check_all_operations(Fault::Fails, Errno::NOSPC);
}

#[test]
fn too_many_open_files_at_any_operation_lose_nothing() {
    check_all_operations(Fault::Fails, Errno::MFILE);
}

#[test]
fn a_disk_turned_read_only_at_any_operation_loses_nothing() {
    check_all_operations(Fault::Fails, Errno::ROFS);
}

#[test]
fn a_write_that_is_done_in_part_before_the_disk_is_full_loses_nothing() {
    check_all_operations(Fault::FailsInTheMiddle, Errno::NOSPC);
}

/// The same where a save appends to a segment that is there.
#[track_caller]
fn check_failing(operation: &str, errno: Errno, kind: StorageErrorKind) {
    check_failing_in(operation, errno, kind, false);
}

/// The same where a save has to begin a segment.
#[track_caller]
fn check_failing_to_begin(operation: &str, errno: Errno, kind: StorageErrorKind) {
    check_failing_in(operation, errno, kind, true);
}

/// Whatever fails all the time: each save is told so, what was stored stays to be read, and saves
/// go on once it does not.
#[track_caller]
fn check_failing_in(operation: &str, errno: Errno, kind: StorageErrorKind, begins: bool) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state").display().to_string();
    let files = FilesThatFail::new(root.as_ref());
    let script = files.script();
    let ops: Arc<dyn FileOps> = Arc::new(files);
    let mut workload = Workload::new();
    let healthy = &mut |err: &checkpoint::StorageError| panic!("{err}");
    let mut log = workload.open(&root, &ops, healthy).unwrap();
    workload.save(&log, &["a", "b"], 100, healthy).unwrap();
    if begins {
        drop(log);
        log = workload.open(&root, &ops, healthy).unwrap();
    }
    script.take_log();
    script.fail_all(operation, errno);
    let mut told = 0;
    for _ in 0..5 {
        let saved = workload.save(&log, &["a", "c"], 100, &mut |err| {
            told += 1;
            assert!(err.to_string().contains(&root), "{operation}: {err} names no path");
            assert_eq!(err.kind(), kind, "{operation}: {err}");
            let cause = err.source().and_then(|cause| cause.downcast_ref::<io::Error>());
            let cause = cause.and_then(io::Error::raw_os_error);
            assert_eq!(cause, Some(errno.raw_os_error()), "{operation}: {err:?}");
            After::Over
        });
        assert!(saved.is_err(), "{operation}");
        workload.check(&log);
    }
    assert_eq!(told, 5);
    check_given_up(&script.take_log(), operation);
    script.heal();
    workload.save(&log, &["a", "b", "c"], 100, healthy).unwrap();
    workload.check(&log);
    drop(log);
    let log = workload.open(&root, &ops, healthy).unwrap();
    workload.check_opened(&log, &*ops);
}

#[test]
fn what_fails_for_long_is_told_and_once_it_does_not_saves_go_on() {
    check_failing("write segments/", Errno::NOSPC, StorageErrorKind::Full);
    check_failing("write segments/", Errno::DQUOT, StorageErrorKind::Full);
    check_failing("write segments/", Errno::ROFS, StorageErrorKind::Forbidden);
    check_failing("write segments/", Errno::IO, StorageErrorKind::Unavailable);
    check_failing("sync_data segments/", Errno::IO, StorageErrorKind::Unavailable);
}

#[test]
fn a_segment_that_cannot_be_begun_for_long_is_told_and_once_it_can_saves_go_on() {
    for (errno, kind) in [
        (Errno::NOSPC, StorageErrorKind::Full),
        (Errno::DQUOT, StorageErrorKind::Full),
        (Errno::ROFS, StorageErrorKind::Forbidden),
        (Errno::IO, StorageErrorKind::Unavailable),
        (Errno::MFILE, StorageErrorKind::Unavailable),
    ] {
        for operation in [
            "create_file segments/",
            "write segments/",
            "create_file temp/",
            "write temp/",
            "rename temp/",
        ] {
            check_failing_to_begin(operation, errno, kind);
        }
    }
    for operation in ["sync_data segments/", "sync_data temp/", "sync_directory"] {
        check_failing_to_begin(operation, Errno::IO, StorageErrorKind::Unavailable);
    }
}

/// What an error of an operation of a reader may be.
const READING: [(Errno, StorageErrorKind); 4] = [
    (Errno::IO, StorageErrorKind::Unreadable),
    (Errno::MFILE, StorageErrorKind::Unavailable),
    (Errno::NOMEM, StorageErrorKind::Unavailable),
    (Errno::ACCESS, StorageErrorKind::Forbidden),
];

/// A log that was closed, and what is in it.
fn closed(root: &str, ops: &Arc<dyn FileOps>) -> Workload {
    let mut workload = Workload::new();
    workload.live(root, ops, &mut |err| panic!("{err}")).unwrap();
    workload
}

/// Nothing is passed over: it is an error or in the report, and the next time all is well.
#[test]
fn an_error_of_any_operation_of_a_verification_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state").display().to_string();
    let files = FilesThatFail::new(root.as_ref());
    let script = files.script();
    let ops: Arc<dyn FileOps> = Arc::new(files);
    let mut workload = closed(&root, &ops);
    let log = workload.open(&root, &ops, &mut |err| panic!("{err}")).unwrap();
    for (errno, kind) in READING {
        let mut told = (0, 0);
        for at in 0.. {
            script.fail_at(at, errno);
            let verified = log.verify(|_| {});
            script.heal();
            let failed = script.take_log();
            let Some(line) = failed.iter().find(|line| line.ends_with(&format!("{errno:?}")))
            else {
                assert_eq!(verified.unwrap().damages, []);
                break;
            };
            match verified {
                Ok(report) => {
                    let [damage] = &*report.damages else { panic!("{line}: {report:?}") };
                    let path = line.split([' ', ':']).nth(1).unwrap();
                    assert_eq!(damage.file, path, "{line}");
                    told.0 += 1;
                }
                Err(err) => {
                    assert_eq!(err.kind(), kind, "{line}: {err}");
                    assert_eq!(kind, StorageErrorKind::Unavailable, "{line}: {err}");
                    assert!(err.to_string().contains(&root), "{line}: {err}");
                    told.1 += 1;
                }
            }
            // A hint is made anew.
            log.compact().unwrap();
            workload.check(&log);
        }
        assert!(told.0 + told.1 > 20, "{errno:?}: {told:?}");
        assert_eq!(told.1 > 10, kind == StorageErrorKind::Unavailable, "{errno:?}: {told:?}");
    }
}

/// Whoever opens a log to read it is told, or has all of it, and nothing is written.
#[test]
fn an_error_of_any_operation_of_a_reader_is_told_or_made_good() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state").display().to_string();
    let files = FilesThatFail::new(root.as_ref());
    let script = files.script();
    let ops: Arc<dyn FileOps> = Arc::new(files);
    let workload = closed(&root, &ops);
    for (errno, kind) in READING {
        let mut told = 0;
        for at in 0.. {
            script.fail_at(at, errno);
            let opened = workload.open_read_only(&root, &ops);
            script.heal();
            let operations = script.take_log();
            let writes = ["write", "create", "rename", "remove", "sync", "try_lock"];
            let is_write = |line: &String| writes.iter().any(|write| line.starts_with(write));
            assert!(!operations.iter().any(is_write), "{operations:?}");
            let failed = operations.iter().find(|line| line.ends_with(&format!("{errno:?}")));
            match opened {
                Ok(log) => workload.check(&log),
                Err(err) => {
                    let line = failed.unwrap_or_else(|| panic!("{err}"));
                    assert_eq!(err.kind(), kind, "{line}: {err}");
                    assert!(err.to_string().contains(&root), "{line}: {err}");
                    told += 1;
                }
            }
            if failed.is_none() {
                break;
            }
        }
        assert!(told > 5, "{errno:?}: {told}");
    }
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state").display().to_string();
    let ops: Arc<dyn FileOps> = Arc::new(FilesThatFail::new(root.as_ref()).with_short_writes());
    let mut workload = Workload::new();
    workload.live(&root, &ops, &mut |err| panic!("{err}")).unwrap();
    let log = workload.open(&root, &ops, &mut |err| panic!("{err}")).unwrap();
    workload.check_opened(&log, &*ops);
}
