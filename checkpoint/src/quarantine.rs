//! Checkpoints that could not be restored, put aside before a newer state replaced them.
//!
//! One is kept as the payload of a record of its own, under an id made of the PE's id and a
//! version. So any storage can keep them, and they are as durable as everything else.

use std::time::{Duration, SystemTime};

use crate::checkpoint_id::{CheckpointId, InvalidCheckpointId};
use crate::record::{InputPositions, RecordKind, RecordMeta, RecordWriter, StateVersion};
use crate::sync::{AtomicUsize, Ordering};

/// Users' prototypes have no control character in their names.
const PREFIX: &str = "\u{1}quarantine/";
/// The version is in front of the key.
const VERSION_BYTES: usize = 16;

/// A checkpoint that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The PE.
    pub id: CheckpointId,
    /// The version of the state that replaced it, by which it is restored or discarded.
    pub replaced_by: StateVersion,
}

/// How many checkpoints of a prototype may be put aside, and how many are just being put aside.
#[derive(Debug)]
pub(crate) struct QuarantineRoom {
    max: usize,
    under_way: AtomicUsize,
}

/// A place for one more checkpoint, while it is being put aside.
pub(crate) struct QuarantinePlace<'a> {
    room: &'a QuarantineRoom,
    others: usize,
}

impl QuarantineRoom {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, under_way: AtomicUsize::new(0) }
    }

    /// To be called before what is there already is counted: whatever is stored in between is then
    /// counted at least once, here or there.
    pub(crate) fn enter(&self) -> QuarantinePlace<'_> {
        QuarantinePlace { room: self, others: self.under_way.fetch_add(1, Ordering::AcqRel) }
    }
}

impl QuarantinePlace<'_> {
    /// Whether there is room, beside so many that are there already.
    pub(crate) fn fits_beside(&self, stored: usize) -> bool {
        stored.saturating_add(self.others) < self.room.max
    }
}

impl Drop for QuarantinePlace<'_> {
    fn drop(&mut self) {
        self.room.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The name under which the checkpoints of a prototype are put aside.
pub(crate) fn quarantine_name(prototype: &str) -> String {
    format!("{PREFIX}{prototype}")
}

/// The id under which a checkpoint is put aside that a new version is to replace.
///
/// # Errors
/// The key is so long that the version does not fit in front of it.
pub(crate) fn quarantine_id(
    id: &CheckpointId,
    replaced_by: StateVersion,
) -> Result<CheckpointId, InvalidCheckpointId> {
    let mut key = Vec::with_capacity(VERSION_BYTES + id.key().len());
    key.extend_from_slice(&replaced_by.epoch.0.to_be_bytes());
    key.extend_from_slice(&replaced_by.sequence.0.to_be_bytes());
    key.extend_from_slice(id.key());
    CheckpointId::within_limits(quarantine_name(id.prototype()).into(), &key)
}

impl Quarantined {
    /// Returns the record that marks its removal.
    pub(crate) fn removal(
        &self,
        partition: u32,
        version: StateVersion,
        captured_at: SystemTime,
    ) -> Result<Vec<u8>, InvalidCheckpointId> {
        let id = quarantine_id(&self.id, self.replaced_by)?;
        let mut record = Vec::new();
        let meta = RecordMeta {
            kind: RecordKind::Tombstone,
            partition,
            version,
            event_count: 0,
            captured_at,
            idle: Duration::ZERO,
            fingerprint: 0,
            positions: &InputPositions::none(),
        };
        RecordWriter::begin(&mut record, id.as_ref(), &meta).finish(&mut record);
        Ok(record)
    }

    /// Returns what an id of the quarantine stands for.
    pub(crate) fn from_id(id: &CheckpointId) -> Option<Self> {
        let prototype = id.prototype().strip_prefix(PREFIX)?;
        let (epoch, rest) = id.key().split_first_chunk::<8>()?;
        let (sequence, key) = rest.split_first_chunk::<8>()?;
        let replaced_by =
            StateVersion::new(u64::from_be_bytes(*epoch), u64::from_be_bytes(*sequence));
        let id = CheckpointId::within_limits(prototype.into(), key).ok()?;
        Some(Self { id, replaced_by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint_id::KEY_BYTES_MAX;
    use crate::record::RecordView;

    #[test]
    fn an_id_of_the_quarantine_tells_what_it_stands_for() {
        let id = CheckpointId::new("p", [0, 1, 255]).unwrap();
        let replaced_by = StateVersion::new(3, 9);
        let aside = quarantine_id(&id, replaced_by).unwrap();
        let quarantined = Quarantined { id, replaced_by };
        assert_eq!(Quarantined::from_id(&aside), Some(quarantined.clone()));
        let version = StateVersion::new(4, 1);
        let removal = quarantined.removal(2, version, SystemTime::UNIX_EPOCH).unwrap();
        let removal = RecordView::parse(&removal).unwrap();
        let header = removal.header();
        assert_eq!((header.kind, header.partition), (RecordKind::Tombstone, 2));
        assert_eq!((header.version, header.id.to_owned()), (version, aside));
    }

    #[test]
    fn what_is_being_put_aside_takes_room_as_well() {
        let room = QuarantineRoom::new(2);
        let first = room.enter();
        assert!(first.fits_beside(1) && !first.fits_beside(2));
        let second = room.enter();
        assert!(second.fits_beside(0) && !second.fits_beside(1));
        drop((first, second));
        assert!(room.enter().fits_beside(1));
    }

    #[test]
    fn a_key_that_leaves_no_room_is_refused() {
        let id = |bytes| CheckpointId::new("p", vec![0; bytes]).unwrap();
        let version = StateVersion::new(1, 1);
        assert!(quarantine_id(&id(KEY_BYTES_MAX - VERSION_BYTES), version).is_ok());
        assert!(quarantine_id(&id(KEY_BYTES_MAX - VERSION_BYTES + 1), version).is_err());
    }
}
