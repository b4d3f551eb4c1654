//! Where a record lies, and which records of an id count.

use crate::record::{RecordKind, StateVersion, captured_seconds};
use crate::storage::log::retention::Keep;

/// A record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: StateVersion,
    pub(super) segment: u32,
    pub(super) offset: u32,
    // The top bit marks a tombstone.
    pub(super) bytes_and_kind: u32,
    /// In seconds since 1970.
    pub(super) captured_at: u32,
}

const TOMBSTONE: u32 = 1 << 31;
/// The longest record that a place can describe.
pub(super) const RECORD_BYTES_MAX: u32 = TOMBSTONE - 1;

impl Place {
    /// The place of a whole record of so many bytes.
    pub(super) fn new(
        version: StateVersion,
        kind: RecordKind,
        record: &[u8],
        (segment, offset): (u32, u32),
    ) -> Self {
        let record_bytes = u32::try_from(record.len()).unwrap_or(RECORD_BYTES_MAX);
        Self::known(version, kind, record_bytes, captured_seconds(record), (segment, offset))
    }

    /// The place of a record of which so much is known.
    pub(super) fn known(
        version: StateVersion,
        kind: RecordKind,
        record_bytes: u32,
        captured_at: u32,
        (segment, offset): (u32, u32),
    ) -> Self {
        let kind = match kind {
            RecordKind::State => 0,
            RecordKind::Tombstone => TOMBSTONE,
        };
        let bytes_and_kind = record_bytes.min(RECORD_BYTES_MAX) | kind;
        Self { version, segment, offset, bytes_and_kind, captured_at }
    }

    pub(super) fn record_bytes(self) -> u32 {
        self.bytes_and_kind & !TOMBSTONE
    }

    pub(super) fn captured_at(self) -> u32 {
        self.captured_at
    }

    pub(super) fn kind(self) -> RecordKind {
        match self.bytes_and_kind & TOMBSTONE {
            0 => RecordKind::State,
            _ => RecordKind::Tombstone,
        }
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.kind() == RecordKind::Tombstone
    }

    /// For the mark of a removal, which is needed for some time from now on, whenever it was made:
    /// counts it as captured now.
    pub(super) fn seen_at(self, now: u32) -> Self {
        let earliest = if self.is_tombstone() { now } else { 0 };
        Self { captured_at: self.captured_at.max(earliest), ..self }
    }

    /// For the mark of a removal that was there when the log was opened: counts it as captured when
    /// it was, but not later than now; or now, if nothing says when that was. Counted from each
    /// opening, it would stay for good in a log that is opened often.
    pub(super) fn found_at(self, now: u32) -> Self {
        let captured_at = match self.captured_at {
            captured_at if !self.is_tombstone() => captured_at,
            0 => now,
            captured_at => captured_at.min(now),
        };
        Self { captured_at, ..self }
    }
}

/// The places of an id's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) newest: Place,
    // The newest first.
    pub(super) older: Vec<Place>,
}

impl Versions {
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        std::iter::once(&mut self.newest).chain(&mut self.older)
    }

    /// Adds a version, and tells of those that are not kept any more. Returns the newest, if that
    /// is another.
    pub(super) fn put(
        &mut self,
        place: Place,
        keep: Keep,
        dropped: &mut dyn FnMut(Place),
    ) -> Option<StateVersion> {
        let newest = self.newest.version;
        let at = self.older.partition_point(|other| other.version > place.version);
        if place.version > newest {
            let before = std::mem::replace(&mut self.newest, place);
            if keep.newest == 0 && replaced_at(place, before) < keep.since {
                // Most stores keep none: then nothing is allocated for it.
                dropped(before);
            } else {
                self.older.insert(0, before);
            }
        } else if place.version == newest {
            // The same record again.
            dropped(std::mem::replace(&mut self.newest, place));
        } else if let Some(same) = self.older.get_mut(at).filter(|o| o.version == place.version) {
            dropped(std::mem::replace(same, place));
        } else {
            // Another one of the same batch is newer.
            self.older.insert(at, place);
        }
        self.trim(keep, dropped);
        (place.version < newest).then_some(newest)
    }

    /// Drops the older versions that are not kept.
    pub(super) fn trim(&mut self, keep: Keep, dropped: &mut dyn FnMut(Place)) {
        let mut at = 0;
        let mut newer = self.newest;
        self.older.retain(|place| {
            at += 1;
            let stays = at <= keep.newest || replaced_at(newer, *place) >= keep.since;
            newer = *place;
            if !stays {
                dropped(*place);
            }
            stays
        });
        if self.older.is_empty() {
            self.older = Vec::new();
        }
    }
}

/// Until when `place` was the newest one, in seconds since 1970. A removal counts from another time
/// on once the log is opened anew: what the PE was counts as of the time of its own.
fn replaced_at(newer: Place, place: Place) -> u32 {
    if newer.is_tombstone() { place.captured_at } else { newer.captured_at }
}
