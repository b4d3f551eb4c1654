//! What must be there after the storage was closed and opened again.

use crate::record::{Epoch, StateVersion};
use crate::storage::conformance::checks::id;
use crate::storage::conformance::checks::metadata::{expect_value, put};
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::records::{record, tombstone};
use crate::storage::conformance::subject::Subject;
use crate::storage::{Metadata, StorageErrorKind};

pub(super) fn states_and_tombstones_survive_reopening(subject: &mut Subject) -> Checked {
    let current = StateVersion::new(1, 5);
    let ids: Vec<_> = (0..20).map(|n| id("p", n.to_string())).collect();
    let records: Vec<_> = (0..20_u8)
        .zip(&ids)
        .map(|(n, id)| match n % 4 {
            0 => tombstone(id, current),
            _ => record(id, current, &[n]),
        })
        .collect();
    subject.store_all(&records)?;
    for _ in 0..2 {
        subject.reopen()?;
        for (id, saved) in ids.iter().zip(&records) {
            subject.expect(id, Some(saved))?;
            let older = record(id, StateVersion::new(1, 4), b"older");
            subject.refused(&older, StorageErrorKind::Stale { current })?;
        }
        let left = (0_u8..).zip(&ids).filter(|(n, _)| n % 4 != 0).map(|(_, id)| id.clone());
        subject.expect_ids("p", left.collect())?;
        subject.expect(&id("p", "never saved"), None)?;
    }
    Ok(())
}

pub(super) fn metadata_survives_reopening(subject: &mut Subject) -> Checked {
    let first = put(subject, "name", None, b"first")?;
    let version = put(subject, "name", Some(first), b"second")?;
    subject.reopen()?;
    expect_value(subject, "name", Some(Metadata { version, bytes: b"second".to_vec() }))?;
    put(subject, "name", Some(version), b"third").map(|_| ())
}

pub(super) fn epochs_rise_over_reopening(subject: &mut Subject) -> Checked {
    let mut last = Epoch(0);
    for _ in 0..3 {
        last = subject.open_above(3, last)?;
        subject.reopen()?;
    }
    subject.open_above(3, last).map(|_| ())
}
