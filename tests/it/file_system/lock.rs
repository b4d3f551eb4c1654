//! A store has one owner at a time, and loses it when that ends: A10, E6, E12, T18.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use checkpoint::{
    DefaultFileSystemStateStorage, FileOps, FileSystemDoubt, LogStorage, StateStorage,
    StorageErrorKind,
};
use checkpoint_tests::Backend;

use super::files_that_fail::FilesThatFail;
use super::{check_error, open};
use crate::support::{Log, eventually};

#[test]
fn a_second_opener_in_this_process_is_refused_and_told_who_has_it() {
    for backend in Backend::ALL {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        let storage = backend.open(&root).unwrap();
        let err = backend.open(&root).map(drop).unwrap_err();
        check_error(&err, StorageErrorKind::Locked, &root);
        let host = rustix::system::uname();
        let host = host.nodename().to_str().unwrap();
        let owner = format!("process {} on {host}", std::process::id());
        assert!(err.to_string().contains(&owner), "{backend:?}: {err}");
        drop(storage);
        backend.open(&root).unwrap();
    }
}

/// Starts a process that saves into the store for ever, and waits until it has it open.
///
/// It starts a program in turn, if one is given, that has the other end of the returned input.
fn start_owner(root: &Path, program: Option<&str>) -> (Child, ChildStdin, impl Sized) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_save_loop"))
        .args([root.to_str().unwrap(), "1", "0"])
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("open "), "{line:?}");
    let input = child.stdin.take().unwrap();
    (child, input, lines)
}

#[test]
fn another_process_keeps_the_lock_until_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let (mut child, _input, _output) = start_owner(&root, None);
    let err = DefaultFileSystemStateStorage::open(&root).unwrap_err();
    check_error(&err, StorageErrorKind::Locked, &root);
    assert!(err.to_string().contains(&format!("process {} on ", child.id())), "{err}");
    // SIGKILL: it cannot clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    open(&root);
}

#[test]
fn a_program_that_the_owner_started_does_not_keep_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    // `cat` reads until we drop the other end of its input.
    let (mut child, input, _output) = start_owner(&root, Some("cat"));
    child.kill().unwrap();
    child.wait().unwrap();
    // The owner goes on a moment before the program that it starts has let go of its descriptors:
    // the system wakes it first, and closes then.
    eventually("the program has let go", || DefaultFileSystemStateStorage::open(&root).is_ok());
    drop(input);
}

#[test]
fn a_lock_file_that_was_removed_or_damaged_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    drop(open(&root));
    std::fs::remove_file(root.join("lock")).unwrap();
    drop(open(&root));
    std::fs::write(root.join("lock"), [0xFF; 10_000]).unwrap();
    drop(open(&root));
}

#[test]
fn epochs_rise_with_each_opening_and_each_opening_of_a_partition() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let mut last = 0;
    for _ in 0..3 {
        let storage = open(&root);
        // Another partition's epochs are its own, but never lower than in an earlier opening.
        assert!(storage.open_epoch(1).unwrap().0 > last);
        for _ in 0..2 {
            let epoch = storage.open_epoch(0).unwrap().0;
            assert!(epoch > last, "{epoch} after {last}");
            last = epoch;
        }
    }
}

#[test]
fn temporary_files_of_a_former_owner_are_swept_by_the_next_one_only() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = open(&root);
    let orphan = root.join("temp/ff");
    std::fs::write(&orphan, "half a record").unwrap();
    DefaultFileSystemStateStorage::open(&root).unwrap_err();
    assert!(orphan.exists());
    drop(storage);
    open(&root);
    assert!(!orphan.exists());
}

/// What opening a store over files says of where they are.
#[track_caller]
fn check_doubts(prepare: impl Fn(FilesThatFail) -> FilesThatFail, expected: &[FileSystemDoubt]) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("files");
    let files = Arc::new(prepare(FilesThatFail::new(&root)));
    let storage = DefaultFileSystemStateStorage::builder(&root).open_over(files).unwrap();
    let log_root = directory.path().join("log");
    let files = Arc::new(prepare(FilesThatFail::new(&log_root)));
    let log = LogStorage::builder(&log_root).open_over(files).unwrap();
    // Where this test itself runs may be doubtful.
    let here = FilesThatFail::new(&root).doubtful_kind();
    let here = here.map(|name| FileSystemDoubt::Kind { name });
    let expected: Vec<_> = match expected {
        [FileSystemDoubt::Kind { .. }, ..] => expected.to_vec(),
        _ => here.into_iter().chain(expected.iter().copied()).collect(),
    };
    assert_eq!(storage.doubts(), expected);
    assert_eq!(log.open_report().doubts, expected);
}

#[test]
fn b12_a_file_system_that_is_not_to_be_relied_upon_is_told_of() {
    let nfs = FileSystemDoubt::Kind { name: "nfs" };
    check_doubts(|files| files, &[]);
    check_doubts(FilesThatFail::locking_twice, &[FileSystemDoubt::LocksTwice]);
    check_doubts(|files| files.of_kind("nfs"), &[nfs]);
    check_doubts(|files| files.of_kind("nfs").locking_twice(), &[nfs, FileSystemDoubt::LocksTwice]);
}

/// What the log says of the opening of a store, warnings only.
fn warnings(open: impl FnOnce()) -> Vec<String> {
    let log = Log::of(open);
    log.lines().filter(|line| line.starts_with("WARN ")).map(str::to_owned).collect()
}

#[test]
fn b12_each_doubt_is_logged_once_with_the_place_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["files", "log"] {
        let root = directory.path().join(name);
        let doubtful = || Arc::new(FilesThatFail::new(&root).of_kind("nfs").locking_twice());
        let open = || match name {
            "files" => {
                DefaultFileSystemStateStorage::builder(&root).open_over(doubtful()).map(drop)
            }
            _ => LogStorage::builder(&root).open_over(doubtful()).map(drop),
        };
        // Each opening says so anew: whoever looks sees the last one.
        for opening in 1..=2 {
            let warnings = warnings(|| open().unwrap());
            let told = |doubt: FileSystemDoubt| {
                let doubt = format!("doubt={doubt} ");
                warnings.iter().filter(|line| line.contains(&doubt)).count()
            };
            let doubts = [FileSystemDoubt::Kind { name: "nfs" }, FileSystemDoubt::LocksTwice];
            assert_eq!(doubts.map(told), [1, 1], "{name}, opening {opening}: {warnings:#?}");
            let path = format!("{}", root.display());
            let names_it = |line: &String| line.contains(&path);
            assert!(warnings.len() == 2 && warnings.iter().all(names_it), "{warnings:#?}");
        }
    }
}

#[test]
fn b12_what_speaks_against_a_file_system_says_why() {
    let doubts = [
        (FileSystemDoubt::Kind { name: "nfs" }, "nfs"),
        (FileSystemDoubt::Kind { name: "overlay" }, "container"),
        (FileSystemDoubt::LocksTwice, "another process"),
    ];
    for (doubt, why) in doubts {
        assert!(doubt.to_string().contains(why), "{doubt}");
    }
}
