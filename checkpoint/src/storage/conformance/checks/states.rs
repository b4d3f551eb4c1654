//! One id: what is saved, fetched, replaced, refused and removed.

use crate::record::StateVersion;
use crate::storage::conformance::Verdict;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::{Checked, shown_outcome};
use crate::storage::conformance::records::{record, tombstone};
use crate::storage::conformance::subject::Subject;
use crate::storage::{SaveOutcome, StorageErrorKind};

const V: fn(u64, u64) -> StateVersion = StateVersion::new;
/// A limit above this is not tried out.
const TRIED_BYTES_MAX: u64 = 64 << 20;

pub(super) fn a_saved_state_is_fetched_byte_for_byte(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    let payload: Vec<u8> = (0..=255).collect();
    let saved = record(&id, V(1, 1), &payload);
    subject.store(&saved)?;
    subject.expect(&id, Some(&saved))
}

pub(super) fn an_id_that_was_never_saved_is_absent(subject: &mut Subject) -> Checked {
    subject.expect(&id("p", "k"), None)?;
    subject.store(&record(&id("p", "k"), V(1, 1), b"x"))?;
    for (prototype, key) in [("p", "k2"), ("p", ""), ("p2", "k"), ("k", "p")] {
        subject.expect(&id(prototype, key), None)?;
    }
    Ok(())
}

pub(super) fn a_newer_state_replaces_an_older_one(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    // Longer, shorter, and by a higher epoch with a lower sequence number.
    for (version, payload) in
        [(V(1, 1), &b"first"[..]), (V(1, 2), b"the second"), (V(1, 9), b"3"), (V(2, 1), b"fourth")]
    {
        let saved = record(&id, version, payload);
        subject.store(&saved)?;
        subject.expect(&id, Some(&saved))?;
    }
    Ok(())
}

pub(super) fn an_older_state_is_refused_and_changes_nothing(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    let current = V(2, 5);
    let saved = record(&id, current, b"newest");
    subject.store(&saved)?;
    for older in [V(2, 4), V(1, 6), V(1, u64::MAX), V(0, 0)] {
        let reason = StorageErrorKind::Stale { current };
        subject.refused(&record(&id, older, b"older"), reason)?;
        subject.refused(&tombstone(&id, older), reason)?;
        subject.expect(&id, Some(&saved))?;
    }
    Ok(())
}

pub(super) fn the_same_version_is_accepted_again(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    let saved = record(&id, V(1, 3), b"state");
    subject.store(&saved)?;
    subject.store(&saved)?;
    subject.expect(&id, Some(&saved))
}

pub(super) fn a_tombstone_is_stored_and_refuses_what_is_older(subject: &mut Subject) -> Checked {
    for (key, saved_before) in [("saved before", true), ("never saved", false)] {
        let id = id("p", key);
        if saved_before {
            subject.store(&record(&id, V(1, 1), b"state"))?;
        }
        let removal = tombstone(&id, V(1, 3));
        subject.store(&removal)?;
        subject.expect(&id, Some(&removal))?;
        let reason = StorageErrorKind::Stale { current: V(1, 3) };
        subject.refused(&record(&id, V(1, 2), b"late"), reason)?;
        subject.expect(&id, Some(&removal))?;
    }
    Ok(())
}

pub(super) fn a_newer_state_replaces_a_tombstone(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    subject.store(&tombstone(&id, V(1, 1)))?;
    let saved = record(&id, V(1, 2), b"again");
    subject.store(&saved)?;
    subject.expect(&id, Some(&saved))?;
    subject.expect_ids("p", vec![id])
}

pub(super) fn records_of_all_sizes_come_back(subject: &mut Subject) -> Checked {
    let record_bytes_max = subject.capabilities().record_bytes_max;
    let sizes = [0, 1, 2, 511, 512, 513, 4_095, 4_096, 65_535, 65_537, 1 << 20];
    for (sequence, size) in (1..).zip(sizes) {
        let id = id("p", size.to_string());
        let payload: Vec<u8> = (0_u8..251).cycle().take(size).collect();
        let saved = record(&id, V(1, sequence), &payload);
        if saved.len() as u64 <= record_bytes_max {
            subject.store(&saved)?;
            subject.expect(&id, Some(&saved))?;
        }
    }
    Ok(())
}

pub(super) fn a_record_that_is_too_large_is_refused(subject: &mut Subject) -> Checked {
    let max = subject.capabilities().record_bytes_max;
    let fits = match usize::try_from(max) {
        Ok(fits) if max <= TRIED_BYTES_MAX => fits,
        _ => {
            let why = format!("it declares records of up to {max} bytes");
            return Err(Verdict::Skipped(why));
        }
    };
    let frame = record(&id("p", "k"), V(1, 1), b"").len();
    let of_bytes = |sequence, bytes: usize| {
        record(&id("p", "k"), V(1, sequence), &vec![7; bytes.saturating_sub(frame)])
    };
    let id = id("p", "k");
    let smaller = of_bytes(1, fits - 1);
    subject.store(&smaller)?;
    subject.expect(&id, Some(&smaller))?;
    let largest = of_bytes(2, fits);
    subject.store(&largest)?;
    let larger = of_bytes(3, fits + 1);
    subject.refused(&larger, StorageErrorKind::TooLarge { max })?;
    // In a batch, it is refused alone.
    let other = record(&super::id("p", "other"), V(1, 4), b"state");
    let outcomes = subject.save(&[larger, other.clone()])?;
    if !matches!(outcomes[..], [SaveOutcome::NotStored(_), SaveOutcome::Stored]) {
        let found: Vec<_> = outcomes.iter().map(shown_outcome).collect();
        let expected = "the first refused, the second stored";
        return subject.fails(
            "saving a too large record and a small one",
            expected,
            found.join(", "),
        );
    }
    subject.expect(&super::id("p", "other"), Some(&other))?;
    subject.expect(&id, Some(&largest))
}
