//! Epochs and fences.

use crate::record::{Epoch, RecordKind, StateVersion};
use crate::storage::conformance::Verdict;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::records::write;
use crate::storage::conformance::subject::Subject;
use crate::storage::{CompareAndSet, StorageErrorKind};

pub(super) fn epochs_rise_for_each_partition(subject: &mut Subject) -> Checked {
    for partition in [0, 1, u32::MAX] {
        let mut last = Epoch(0);
        for _ in 0..3 {
            last = subject.open_above(partition, last)?;
        }
    }
    Ok(())
}

pub(super) fn a_former_owner_is_fenced(subject: &mut Subject) -> Checked {
    if subject.capabilities().compare_and_set != CompareAndSet::PerPartition {
        return Err(Verdict::Skipped("it does not declare to compare per partition".to_owned()));
    }
    let mine = subject.open_above(7, Epoch(0))?;
    let current = subject.open_above(7, mine)?;
    let save = |key: &str, epoch: Epoch, partition: u32| {
        let version = StateVersion::new(epoch.0, 1);
        write(&id("p", key), version, partition, RecordKind::State, b"state")
    };
    // A key that the new owner has never seen.
    let reason = StorageErrorKind::Fenced { mine, current };
    subject.refused(&save("unseen", mine, 7), reason)?;
    subject.expect(&id("p", "unseen"), None)?;
    subject.store(&save("of the new owner", current, 7))?;
    // Another partition is none of its business.
    subject.store(&save("of another partition", mine, 8))
}
