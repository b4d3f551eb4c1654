//! What the system can run out of, or refuse, with its own means: B1, B8, B9, B16, B17.
//!
//! These need the rights to mount and to forbid: where they are missing, the tests fail and say so.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use checkpoint_tests::{Backend, Conversation};

use crate::processes::places;
use crate::support::eventually;

/// A keeper over the store at `root` that is told what to do. `script` runs before it, in a mount
/// namespace of its own, where `$0` is the directory that the store is in.
#[track_caller]
fn start(backend: Backend, directory: &Path, script: &str) -> Conversation {
    let script = format!("set -e; {script}\nexec \"$1\" {} \"$0/state\"", backend.name());
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", &script]).arg(directory);
    Conversation::start(command.arg(env!("CARGO_BIN_EXE_keeper_shell"))).unwrap()
}

/// Runs a command in the mount namespace of a process; returns whether it succeeded.
#[track_caller]
fn inside(process: &Conversation, script: &str, directory: &Path) -> bool {
    let id = process.id().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &id, "--mount", "bash", "-c", script]).arg(directory);
    command.output().unwrap().status.success()
}

#[track_caller]
fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} is needed here: {errors}");
}

/// Stores a key at 1.
#[track_caller]
fn begin(keeper: &mut Conversation) {
    keeper.hear("open");
    assert_eq!(keeper.tell("add a", ""), "added 1");
    assert_eq!(keeper.tell("store a 20000", "stored"), "stored");
}

/// What is to hold while nothing can be stored: it is told, and costs few attempts.
#[track_caller]
fn check_told(keeper: &mut Conversation, expected: &str) {
    // More than what is left of a page.
    keeper.tell("add a 20000", "added 2");
    let answer = keeper.tell("store a 20000", "");
    assert!(answer.starts_with("failed: ") && answer.contains(expected), "{answer}");
    // Memory goes on.
    assert_eq!(keeper.tell("read a", "read"), "read 2");
    let before = batches(keeper);
    // A ticket is answered after two attempts, with a growing wait in between: no spinning.
    for _ in 0..10 {
        assert!(keeper.tell("store a 20000", "").starts_with("failed: "));
    }
    let attempts = batches(keeper) - before;
    assert!(attempts <= 40, "{attempts} attempts");
}

#[track_caller]
fn batches(keeper: &mut Conversation) -> u64 {
    let stats = keeper.tell("stats", "stats");
    stats.split(' ').nth(2).unwrap().parse().unwrap()
}

/// What is to hold once it can be stored again, without a restart: also for a restart after it.
#[track_caller]
fn check_over(keeper: &mut Conversation) {
    assert_eq!(keeper.tell("store a 20000", "stored"), "stored");
    assert!(keeper.tell("evict a", "evicted").contains("Evicted"));
    assert_eq!(keeper.tell("read a", "read"), "read 2");
    keeper.tell("add b", "added 1");
    assert!(keeper.tell("close", "closed").starts_with("closed: "));
}

#[test]
fn a_full_file_system_is_told_and_once_there_is_space_saves_go_on() {
    for backend in Backend::ALL {
        let directory = places::in_memory();
        let mut keeper = start(
            backend,
            directory.path(),
            "mount -t tmpfs -o size=1M tmpfs \"$0\"; mkdir -m 700 \"$0/state\"",
        );
        begin(&mut keeper);
        assert!(!inside(&keeper, "head -c 2M /dev/zero > \"$0/fill\"", directory.path()));
        check_told(&mut keeper, "No space left on device");
        assert!(inside(&keeper, "rm \"$0/fill\"", directory.path()));
        check_over(&mut keeper);
    }
}

#[test]
fn a_file_system_without_inodes_is_told_and_once_there_are_some_saves_go_on() {
    let directory = places::in_memory();
    let mut keeper = start(
        Backend::Files,
        directory.path(),
        "mount -t tmpfs -o nr_inodes=100 tmpfs \"$0\"; mkdir -m 700 \"$0/state\"",
    );
    begin(&mut keeper);
    let fill = "i=0; while : > \"$0/fill$i\"; do i=$((i + 1)); done 2> /dev/null; test $i -gt 10";
    assert!(inside(&keeper, fill, directory.path()), "nsenter is needed here");
    check_told(&mut keeper, "No space left on device");
    assert!(inside(&keeper, "rm \"$0\"/fill*", directory.path()));
    check_over(&mut keeper);
}

/// Makes a directory immutable until this is dropped.
struct Immutable<'a>(&'a Path);

impl<'a> Immutable<'a> {
    fn new(path: &'a Path) -> Self {
        run("chattr", [OsStr::new("+i"), path.as_os_str()]);
        Self(path)
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        run("chattr", [OsStr::new("-i"), self.0.as_os_str()]);
    }
}

#[test]
fn an_immutable_directory_is_told_and_once_it_is_not_saves_go_on() {
    let directory = places::on_disk();
    let mut keeper = start(Backend::Files, directory.path(), "");
    begin(&mut keeper);
    let temporary = directory.path().join("state/temp");
    let immutable = Immutable::new(&temporary);
    check_told(&mut keeper, "Operation not permitted");
    drop(immutable);
    check_over(&mut keeper);
}

#[test]
fn a_store_on_a_read_only_mount_does_not_open_and_says_why() {
    for backend in Backend::ALL {
        let directory = places::in_memory();
        let mut keeper = start(backend, directory.path(), "");
        begin(&mut keeper);
        keeper.tell("close", "closed");
        drop(keeper);
        let read_only = "mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"";
        let mut keeper = start(backend, directory.path(), read_only);
        let answer = keeper.hear("not open: ");
        let root = directory.path().join("state").display().to_string();
        assert!(answer.contains(&root) && answer.contains("Read-only file system"), "{answer}");
    }
}

#[test]
fn a_process_without_descriptors_is_told_and_once_there_are_some_everything_goes_on() {
    let directory = places::in_memory();
    let mut keeper = start(Backend::Files, directory.path(), "");
    begin(&mut keeper);
    let id = keeper.id().to_string();
    // Those that are open stay so; there are no more.
    run("prlimit", ["--pid", &id, "--nofile=3:"]);
    check_told(&mut keeper, "Too many open files");
    run("prlimit", ["--pid", &id, "--nofile=100:"]);
    check_over(&mut keeper);
}

#[test]
fn a_restore_without_descriptors_fails_and_does_not_find_nothing() {
    let directory = places::in_memory();
    let mut keeper = start(Backend::Files, directory.path(), "");
    begin(&mut keeper);
    assert!(keeper.tell("evict a", "evicted").contains("Evicted"));
    let id = keeper.id().to_string();
    run("prlimit", ["--pid", &id, "--nofile=3:"]);
    for _ in 0..30 {
        let answer = keeper.tell("add a", "");
        assert!(answer.starts_with("error: "), "{answer}");
    }
    run("prlimit", ["--pid", &id, "--nofile=100:"]);
    // Fetching may be switched off for a moment after so many failures.
    eventually("the state is restored", || keeper.tell("add a", "") == "added 2");
    assert_eq!(keeper.tell("store a 20000", "stored"), "stored");
}

#[test]
fn a_store_that_is_deleted_under_a_keeper_is_missed_and_not_made_anew() {
    for backend in Backend::ALL {
        let directory = places::in_memory();
        let mut keeper = start(backend, directory.path(), "");
        begin(&mut keeper);
        let root = directory.path().join("state");
        fs::remove_dir_all(&root).unwrap();
        keeper.tell("add a", "added 2");
        let answer = keeper.tell("store a 20000", "failed");
        assert!(answer.contains(&root.display().to_string()), "{answer}");
        let answer = keeper.tell("close", "not closed");
        assert!(answer.contains("p/a"), "{answer}");
        assert!(!root.exists());
    }
}
