//! Epochs and fences.

use crate::record::{Epoch, RecordKind, StateVersion};
use crate::storage::conformance::Verdict;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::subject::{Checked, Subject, failed, write};
use crate::storage::{CompareAndSet, StorageErrorKind};

pub(super) fn epochs_rise_for_each_partition(subject: &mut Subject) -> Checked {
    for partition in [0, 1, u32::MAX] {
        let mut last = Epoch(0);
        for _ in 0..3 {
            last = open_above(subject, partition, last)?;
        }
    }
    Ok(())
}

/// Opens a partition, which must give an epoch above the last one.
pub(super) fn open_above(subject: &Subject, partition: u32, last: Epoch) -> Checked<Epoch> {
    match subject.storage().open_epoch(partition) {
        Ok(epoch) if epoch > last => Ok(epoch),
        found => {
            let expected = format!("an epoch above {}", last.0);
            let what = format!("opening partition {partition}");
            failed(&what, &expected, &found).map(|()| last)
        }
    }
}

pub(super) fn a_former_owner_is_fenced(subject: &mut Subject) -> Checked {
    if subject.storage().capabilities().compare_and_set != CompareAndSet::PerPartition {
        return Err(Verdict::Skipped("it does not declare to compare per partition".to_owned()));
    }
    let mine = open_above(subject, 7, Epoch(0))?;
    let current = open_above(subject, 7, mine)?;
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
