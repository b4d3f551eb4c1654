//! Writes the hints of the segments that have none, and reads those of the others.

use crate::storage::directory::error::write_error;
use crate::storage::log::compaction::{Pace, Unfinished};
use crate::storage::log::hint::{Hint, HintRead, HintWriter, hint_path};
use crate::storage::log::inner::{Access, Log};
use crate::storage::log::layout::SegmentHead;
use crate::storage::log::manifest::Listed;
use crate::storage::log::scan::Found;
use crate::storage::log::segment::Segment;
use crate::sync::MutexGuard;

impl Log {
    /// Writes the hints that are missing of segments that are not written any more.
    ///
    /// They are made by reading the segments: whoever saves is not held up by keeping account, and
    /// what was just written is still in memory.
    pub(super) fn write_hints(&self, pace: Pace<'_>) -> Result<(), Unfinished> {
        self.write_hints_alone(&self.compacting.lock(), pace)
    }

    /// The same for who sees to it that no segment goes away meanwhile.
    pub(super) fn write_hints_alone(
        &self,
        _compacting: &MutexGuard<'_, ()>,
        pace: Pace<'_>,
    ) -> Result<(), Unfinished> {
        let sealed = self.tail.lock().sealed().to_vec();
        for listed in sealed {
            let Some(valid_bytes) = listed.valid_bytes else { continue };
            let Some(segment) = self.segments.get(listed.number) else { continue };
            // What is damaged is read each time, so that it is reported each time.
            let is_damaged = self.damages.is_damaged(listed.number);
            if segment.needs_hint() && !is_damaged && listed.durable_bytes == valid_bytes {
                self.write_hint(&segment, listed, valid_bytes, pace)?;
            }
        }
        Ok(())
    }

    fn write_hint(
        &self,
        segment: &Segment,
        listed: Listed,
        valid_bytes: u64,
        pace: Pace<'_>,
    ) -> Result<(), Unfinished> {
        let store = &self.directory.store;
        let head = SegmentHead { number: listed.number, identity: self.directory.identity() };
        let mut hint = HintWriter::new(head, valid_bytes);
        let mut failed = None;
        self.scan_segment(segment, listed, &mut |found| match found {
            _ if failed.is_some() || hint.is_too_long() => {}
            Found::Record { header, offset, record } => {
                hint.add(&header, offset, record);
                if !pace(record.len() as u64) {
                    failed = Some(Unfinished::Ended);
                }
            }
            damage => failed = Some(Unfinished::Failed(self.note_damage(segment, damage))),
        })?;
        if let Some(unfinished) = failed {
            return Err(unfinished);
        }
        if hint.is_too_long() {
            segment.have_no_hint();
            return Ok(());
        }
        let bytes = hint.write(store, listed.number).map_err(|err| {
            let path = store.shown(&hint_path(listed.number));
            write_error(format!("write {path}"), err)
        })?;
        segment.set_hint_bytes(bytes);
        Ok(())
    }

    /// The hint of a segment.
    pub(super) fn hint_of(&self, listed: Listed) -> HintRead {
        let head = SegmentHead { number: listed.number, identity: self.directory.identity() };
        Hint::read(&self.directory.store, head, listed.valid_bytes.unwrap_or(0))
    }

    /// Has the next opening read a segment that is damaged, so that it tells of that too.
    pub(super) fn drop_hint(&self, segment: &Segment) {
        if self.access == Access::ReadWrite && segment.has_hint() {
            segment.set_hint_bytes(0);
            // If it stays, the damage is told of when it is met again.
            let _stays = self.directory.store.files.remove_file(&hint_path(segment.number));
        }
    }
}
