//! Several ids in one call.

use crate::record::StateVersion;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::{Checked, shown_outcome};
use crate::storage::conformance::records::{record, tombstone};
use crate::storage::conformance::subject::Subject;
use crate::storage::{FetchVersion, SaveOutcome, StorageErrorKind};

pub(super) fn every_entry_is_completed(subject: &mut Subject) -> Checked {
    for size in [1_u64, 2, 7, 100] {
        let records: Vec<_> = (0..size)
            .map(|n| record(&id("p", n.to_string()), StateVersion::new(size, n), b"state"))
            .collect();
        subject.store_all(&records)?;
        for (n, saved) in records.iter().enumerate() {
            subject.expect(&id("p", n.to_string()), Some(saved))?;
        }
    }
    Ok(())
}

pub(super) fn an_empty_batch_is_no_trouble(subject: &mut Subject) -> Checked {
    subject.store_all(&[])?;
    subject.equal("fetching nothing", &0, &subject.fetch(&[], FetchVersion::Newest)?.len())
}

pub(super) fn an_entry_that_is_refused_leaves_the_others_alone(subject: &mut Subject) -> Checked {
    let ids = ["a", "b", "c", "d"].map(|key| id("p", key));
    let [a, b, c, d] = &ids;
    let current = StateVersion::new(5, 5);
    let kept = record(b, current, b"kept");
    subject.store(&kept)?;
    let next = StateVersion::new(5, 6);
    let stale = record(b, StateVersion::new(5, 4), b"stale");
    let batch = [record(a, next, b"a"), stale, record(c, next, b"c"), tombstone(d, next)];
    for (index, outcome) in subject.save(&batch)?.into_iter().enumerate() {
        match (index, outcome) {
            (1, SaveOutcome::NotStored(err))
                if err.kind() == StorageErrorKind::Stale { current } => {}
            (0 | 2 | 3, SaveOutcome::Stored) => {}
            (index, found) => {
                let what = format!("entry {index} of a batch of which entry 1 is stale");
                let expected = if index == 1 { "NotStored(Stale)" } else { "Stored" };
                return subject.fails(&what, expected, shown_outcome(&found));
            }
        }
    }
    let [of_a, _, of_c, of_d] = &batch;
    for (id, expected) in [(a, of_a), (b, &kept), (c, of_c), (d, of_d)] {
        subject.expect(id, Some(expected))?;
    }
    Ok(())
}

pub(super) fn several_ids_are_fetched_at_once(subject: &mut Subject) -> Checked {
    let ids = ["a", "absent", "b", "c"].map(|key| id("p", key));
    let records: Vec<_> =
        ids.iter().map(|id| record(id, StateVersion::new(1, 1), id.key())).collect();
    for (id, record) in ids.iter().zip(&records) {
        if id.key() != b"absent" {
            subject.store(record)?;
        }
    }
    let answers = subject.fetch(&ids, FetchVersion::Newest)?;
    for ((id, record), answer) in ids.iter().zip(&records).zip(answers) {
        let expected = (id.key() != b"absent").then_some(record);
        let what = format!("the answer for {id} among {}", ids.len());
        subject.expect_answer(&what, expected.map(Vec::as_slice), &answer)?;
    }
    Ok(())
}
