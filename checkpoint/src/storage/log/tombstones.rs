//! Which removals need not be remembered any longer.
//!
//! A removal is needed for as long as an older record of its id may be found when the log is read
//! anew. Behind it there is none, and compaction leaves out what lies beside it; what lies before
//! it is known from the hints, which list dead records too.

use std::collections::HashSet;

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::RecordKind;
use crate::storage::StorageError;
use crate::storage::log::hint::HintRead;
use crate::storage::log::inner::Log;
use crate::storage::log::layout::id_hash;
use crate::storage::log::manifest::Listed;
use crate::storage::log::scan::Found;

/// To be rid of a byte of removals, so many bytes of hints are read at the most.
const HINT_BYTES_PER_BYTE_MAX: u64 = 8;

/// The segments that compaction chooses from, as far as removals are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removals {
    /// Bytes of removals that have been remembered for long enough.
    pub(super) due_bytes: u64,
    /// How many bytes the hint has, if there is one.
    pub(super) hint_bytes: Option<u64>,
}

/// How many bytes of hints the segments before another have: `None` if one has none.
pub(super) fn add_hint(before: Option<u64>, one: Removals) -> Option<u64> {
    Some(before?.saturating_add(one.hint_bytes?))
}

/// How many bytes of removals can be left out, of so many, if the segments before have so many
/// bytes of hints: none if that cannot be known, or not cheaply.
pub(super) fn due_bytes_free(hints_before: Option<u64>, due_bytes: u64) -> u64 {
    match hints_before {
        Some(bytes) if bytes <= due_bytes.saturating_mul(HINT_BYTES_PER_BYTE_MAX) => due_bytes,
        _ => 0,
    }
}

impl Log {
    /// Returns the hashes of the ids in some neighbours of which nothing but a removal counts, and
    /// of which nothing lies in the segments before.
    pub(super) fn removed_for_good(
        &self,
        before: &[Listed],
        neighbours: &[Listed],
    ) -> Result<HashSet<u64>, StorageError> {
        let mut removed = HashSet::new();
        let mut note = |id: CheckpointIdRef<'_>, kind| {
            if kind == RecordKind::Tombstone && self.index.all(id).len() == 1 {
                removed.insert(id_hash(id));
            }
        };
        for listed in neighbours {
            if let HintRead::Found(hint) = self.hint_of(*listed) {
                hint.visit(&mut |id, record| note(id, record.kind()));
            } else if let Some(segment) = self.segments.get(listed.number) {
                self.scan_segment(&segment, *listed, &mut |found| {
                    // What is damaged is found again when it is to be copied.
                    if let Found::Record { header, .. } = found {
                        note(header.id, header.kind);
                    }
                })?;
            }
        }
        for listed in before {
            if removed.is_empty() {
                break;
            }
            let HintRead::Found(hint) = self.hint_of(*listed) else { return Ok(HashSet::new()) };
            hint.visit(&mut |id, _| {
                removed.remove(&id_hash(id));
            });
        }
        Ok(removed)
    }
}
