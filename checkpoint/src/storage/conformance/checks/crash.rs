//! What must be there after a crash: whatever was acknowledged, or something newer.

use std::collections::BTreeMap;

use crate::checkpoint_id::CheckpointId;
use crate::random::{RandomSource, SeededRandom};
use crate::record::{Epoch, StateVersion};
use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::{Checked, shown_answer};
use crate::storage::conformance::records::{record, shown, tombstone};
use crate::storage::conformance::subject::Subject;
use crate::storage::{FetchVersion, MetadataVersion, SaveOutcome};

/// How often a storage is crashed in one check.
const CRASHES: u64 = 40;
const KEYS: u64 = 6;
/// The most bytes of a state: some sectors of a disk.
const STATE_BYTES_MAX: u64 = 3_000;

/// What was saved of an id.
#[derive(Default)]
struct Saved {
    offered: BTreeMap<StateVersion, Vec<u8>>,
    /// What was acknowledged, and must be there at the least.
    floor: Option<StateVersion>,
}

pub(super) fn what_is_acknowledged_survives_crashes(subject: &mut Subject) -> Checked {
    let random = SeededRandom::new(subject.seed);
    let below = |end: u64| random.next_u64() % end;
    let ids: Vec<_> = (0..KEYS).map(|key| id("p", key.to_string())).collect();
    let mut saved: BTreeMap<&CheckpointId, Saved> = BTreeMap::new();
    let mut sequence = 0;
    for crash in 0..CRASHES {
        if below(3) > 0 {
            subject.trouble(random.next_u64())?;
        }
        for _ in 0..below(8) {
            let mut batch = Vec::new();
            for id in &ids {
                if below(3) > 0 {
                    continue;
                }
                sequence += 1;
                let version = StateVersion::new(1, sequence);
                let bytes = usize::try_from(below(STATE_BYTES_MAX)).unwrap_or(0);
                let made = match below(6) {
                    0 => tombstone(id, version),
                    _ => record(id, version, &vec![version.sequence.0.to_le_bytes()[0]; bytes]),
                };
                saved.entry(id).or_default().offered.insert(version, made.clone());
                batch.push((id, version, made));
            }
            let records: Vec<_> = batch.iter().map(|(.., made)| made.clone()).collect();
            for ((id, version, _), outcome) in batch.iter().zip(subject.save(&records)?) {
                if matches!(outcome, SaveOutcome::Stored) {
                    saved.entry(id).or_default().floor = Some(*version);
                }
            }
            if below(4) == 0 {
                look(subject, &ids, &saved, IfUnreadable::Trouble)?;
            }
        }
        subject.crash(crash)?;
        look(subject, &ids, &saved, IfUnreadable::Failure)?;
    }
    let acknowledged = saved.values().filter(|saved| saved.floor.is_some()).count();
    match acknowledged {
        0 => subject.fails("saving between crashes", "something is stored", "nothing ever was"),
        _ => Ok(()),
    }
}

/// What an error of a fetch is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfUnreadable {
    /// What was asked for.
    Trouble,
    Failure,
}

/// Fetches all ids, and checks what is found.
fn look(
    subject: &Subject,
    ids: &[CheckpointId],
    saved: &BTreeMap<&CheckpointId, Saved>,
    if_unreadable: IfUnreadable,
) -> Checked {
    for (id, answer) in ids.iter().zip(subject.fetch(ids, FetchVersion::Newest)?) {
        let Some(saved) = saved.get(id) else { continue };
        let attempted = format!("fetching {id}");
        let expected = || match saved.floor {
            Some(version) => {
                format!("{} or newer", shown(saved.offered.get(&version).map(Vec::as_slice)))
            }
            None => "what was saved, or absent".to_owned(),
        };
        match &answer {
            Err(_) if if_unreadable == IfUnreadable::Trouble => {}
            Ok(None) if saved.floor.is_none_or(|floor| may_be_forgotten(id, saved, floor)) => {}
            Ok(Some(bytes)) => {
                let is_it = |(_, offered): &(&StateVersion, &Vec<u8>)| *offered == bytes;
                match saved.offered.iter().rev().find(is_it) {
                    Some((version, _)) if Some(*version) >= saved.floor => {}
                    _ => return subject.fails(&attempted, &expected(), shown_answer(&answer)),
                }
            }
            _ => return subject.fails(&attempted, &expected(), shown_answer(&answer)),
        }
    }
    Ok(())
}

/// Whether what was stored may have been a removal, which is not remembered for ever.
fn may_be_forgotten(id: &CheckpointId, saved: &Saved, floor: StateVersion) -> bool {
    let mut newer = saved.offered.range(floor..);
    newer.any(|(version, made)| *made == tombstone(id, *version))
}

pub(super) fn metadata_and_epochs_survive_crashes(subject: &mut Subject) -> Checked {
    let random = SeededRandom::new(subject.seed);
    let (mut last, mut acknowledged) = (Epoch(0), MetadataVersion(0));
    let mut offered: Vec<Vec<u8>> = Vec::new();
    for crash in 0..CRASHES {
        last = subject.open_above(0, last)?;
        if random.next_u64().is_multiple_of(2) {
            subject.trouble(random.next_u64())?;
        }
        for _ in 0..random.next_u64() % 4 {
            let Ok(expected) = subject.storage.metadata("name") else { break };
            let bytes = random.next_u64().to_le_bytes().to_vec();
            offered.push(bytes.clone());
            let expected = expected.map(|found| found.version);
            if let Ok(version) = subject.put_metadata("name", expected, &bytes) {
                acknowledged = version;
            }
        }
        subject.crash(crash)?;
        let found = subject.metadata("name")?;
        let is_right = match &found {
            Some(found) => found.version >= acknowledged && offered.contains(&found.bytes),
            None => acknowledged == MetadataVersion(0),
        };
        if !is_right {
            let expected = format!("version {} or a newer one", acknowledged.0);
            let found = found.map_or("none".to_owned(), |found| found.version.0.to_string());
            return subject.fails("reading metadata \"name\"", &expected, found);
        }
    }
    Ok(())
}
