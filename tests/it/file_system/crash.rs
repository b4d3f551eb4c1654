//! A machine that loses power, under the storage of files.

use std::sync::Arc;

use checkpoint::{DefaultFileSystemStateStorage, FileOps};
use checkpoint_tests::simulation::{Fate, Left, Machine};

use crate::file_system::{fetch, record, save_one, store};

fn open(files: Arc<dyn FileOps>) -> DefaultFileSystemStateStorage {
    DefaultFileSystemStateStorage::builder("/simulated").open_over(files).unwrap()
}

/// A process is killed while it saves, the next one reads, and then the power goes. Returns whether
/// it read what was not acknowledged.
fn check_read(off_after: u64, prepared: bool) -> bool {
    let machine = Machine::new(7);
    let storage = open(machine.start(Fate::default()));
    if prepared {
        store(&storage, record("a", 1, b"first"));
    }
    machine.befall(Fate { off_after: Some(off_after), ..Fate::default() });
    drop(save_one(&storage, record("a", 2, b"second")));
    let is_acknowledged = machine.is_on();
    machine.crash(Left::All);
    drop(storage);
    let storage = open(machine.start(Fate::default()));
    let read = fetch(&storage, "a").unwrap();
    machine.crash(Left::Synced);
    drop(storage);
    let storage = open(machine.start(Fate::default()));
    assert_eq!(fetch(&storage, "a").unwrap(), read, "{off_after}: it was there before");
    read == Some(record("a", 2, b"second")) && !is_acknowledged
}

/// Found by the simulated keeper over files (`keeper-power-loss`).
#[test]
fn what_is_read_after_a_kill_is_not_gone_with_the_power() {
    for prepared in [true, false] {
        let early = (0..40).filter(|off_after| check_read(*off_after, prepared)).count();
        assert!(early > 0, "nobody was killed between a rename and its sync");
    }
}
