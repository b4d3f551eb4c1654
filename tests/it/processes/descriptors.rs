//! Who has the store: A10, E4, E6, E12, T18. (`file_system::lock` has the single cases.)

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use checkpoint::{DefaultFileSystemStateStorage, StorageErrorKind};

use crate::processes::places;
use crate::support::eventually;

/// The open files of a process that lie below a directory.
fn open_below(process: u32, directory: &Path) -> BTreeSet<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(directory)).collect()
}

fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_program_that_the_owner_starts_inherits_nothing_of_the_store() {
    let directory = places::in_memory();
    let mut owner = Command::new(env!("CARGO_BIN_EXE_save_loop"))
        .arg(directory.path().join("state"))
        .args(["1", "0", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("open "));
    let is_cat = |child: &u32| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "cat\n")
    };
    eventually("the owner has started a program", || {
        child_of(owner.id()).is_some_and(|c| is_cat(&c))
    });
    let child = child_of(owner.id()).unwrap();
    // The owner has them; else there would be nothing to inherit.
    let lock = directory.path().join("state/lock");
    assert!(open_below(owner.id(), directory.path()).contains(&lock));
    assert_eq!(open_below(child, directory.path()), BTreeSet::new());
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The child lives on, and holds nothing up.
    assert!(is_cat(&child));
    DefaultFileSystemStateStorage::open(directory.path().join("state")).unwrap();
}

#[test]
fn of_many_who_open_a_store_at_once_exactly_one_has_it() {
    const OPENERS: usize = 8;
    let directory = places::in_memory();
    for round in 0..50 {
        // Now and then the store is to be created, too.
        let root = directory.path().join(format!("state{}", round / 2));
        let (start, end) = (Barrier::new(OPENERS), Barrier::new(OPENERS));
        let open = || {
            start.wait();
            let opened = DefaultFileSystemStateStorage::open(&root);
            // Nobody gives it back before all have tried.
            end.wait();
            opened.map(drop).map_err(|err| err.kind())
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let openers: Vec<_> = (0..OPENERS).map(|_| scope.spawn(open)).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        let opened = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let locked = |outcome: &&Result<(), _>| **outcome == Err(StorageErrorKind::Locked);
        let refused = outcomes.iter().filter(locked).count();
        assert_eq!((opened, refused), (1, OPENERS - 1), "round {round}: {outcomes:?}");
    }
}
