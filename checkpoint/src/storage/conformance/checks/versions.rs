//! Older versions, as far as they are kept.

use crate::record::{RecordKind, StateVersion};
use crate::storage::FetchVersion;
use crate::storage::conformance::Verdict;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::records::{record, tombstone};
use crate::storage::conformance::subject::Subject;

const V: fn(u64, u64) -> StateVersion = StateVersion::new;
/// More than these are not tried out.
const TRIED_VERSIONS_MAX: u64 = 100;

pub(super) fn the_newest_version_is_found_by_its_number(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    subject.expect_version(&id, FetchVersion::Exactly(V(1, 1)), None)?;
    subject.equal("the versions of an id that was never saved", &Vec::new(), &listed(subject)?)?;
    let saved = record(&id, V(3, 3), b"state");
    subject.store(&saved)?;
    subject.expect_version(&id, FetchVersion::Exactly(V(3, 3)), Some(&saved))?;
    subject.expect_version(&id, FetchVersion::Exactly(V(3, 2)), None)?;
    subject.expect_version(&id, FetchVersion::Before(V(4, 0)), Some(&saved))?;
    subject.expect_version(&id, FetchVersion::Before(V(3, 3)), None)?;
    subject.equal("the listed versions", &vec![(V(3, 3), RecordKind::State)], &listed(subject)?)
}

pub(super) fn as_many_older_versions_are_kept_as_declared(subject: &mut Subject) -> Checked {
    let declared = subject.capabilities().older_versions_max;
    if declared == 0 {
        return Err(Verdict::Skipped("it declares that it keeps none".to_owned()));
    }
    let id = id("p", "k");
    let older = declared.min(TRIED_VERSIONS_MAX);
    // One more than are kept, and the last a removal.
    let last = older + 2;
    let records: Vec<_> = (1..=last)
        .map(|n| match n {
            _ if n == last => tombstone(&id, V(1, n)),
            _ => record(&id, V(1, n), &n.to_le_bytes()),
        })
        .collect();
    for record in &records {
        subject.store(record)?;
    }
    let mut expected = vec![(V(1, last), RecordKind::Tombstone)];
    expected.extend((1..last).rev().map(|n| (V(1, n), RecordKind::State)));
    if older == declared {
        expected.pop();
    }
    subject.equal("the listed versions", &expected, &listed(subject)?)?;
    for (n, saved) in (1..=last).zip(&records).skip(1) {
        subject.expect_version(&id, FetchVersion::Exactly(V(1, n)), Some(saved))?;
        subject.expect_version(&id, FetchVersion::Before(V(1, n + 1)), Some(saved))?;
    }
    Ok(())
}

fn listed(subject: &Subject) -> Checked<Vec<(StateVersion, RecordKind)>> {
    let found = subject.versions(&id("p", "k"))?;
    Ok(found.iter().map(|found| (found.version, found.kind)).collect())
}
