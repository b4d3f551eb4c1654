//! Writes the hints of the segments that have none.

use crate::storage::directory::error::{read_error, write_error};
use crate::storage::log::compaction::{Pace, Unfinished};
use crate::storage::log::hint::{HintWriter, hint_path};
use crate::storage::log::inner::Log;
use crate::storage::log::layout::SegmentHead;
use crate::storage::log::manifest::Listed;
use crate::storage::log::scan::{Found, ScanError, scan};
use crate::storage::log::segment::{Segment, segment_path};
use crate::storage::{StorageError, StorageErrorKind};

impl Log {
    /// Writes the hints that are missing of segments that are not written any more.
    ///
    /// They are made by reading the segments: whoever saves is not held up by keeping account, and
    /// what was just written is still in memory.
    pub(super) fn write_hints(&self, pace: Pace<'_>) -> Result<(), Unfinished> {
        // No segment goes away meanwhile.
        let _compacting = self.compacting.lock();
        let sealed = self.writer.lock().sealed().to_vec();
        for listed in sealed {
            let Some(valid_bytes) = listed.valid_bytes else { continue };
            let Some(segment) = self.segments.get(listed.number) else { continue };
            // What is damaged is read each time, so that it is reported each time.
            let is_damaged = self.damages.is_damaged(listed.number);
            if !segment.has_hint() && !is_damaged && listed.durable_bytes == valid_bytes {
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
        let scanned = scan(segment, head, listed, &mut |found| match found {
            _ if failed.is_some() => {}
            Found::Record { header, offset, record } => {
                hint.add(&header, offset, record);
                if !pace(record.len() as u64) {
                    failed = Some(Unfinished::Ended);
                }
            }
            damage => failed = Some(Unfinished::Failed(self.note_damage(segment, damage))),
        });
        let attempted = || format!("read {}", store.shown(&segment_path(listed.number)));
        match (scanned, failed) {
            (Err(ScanError::Io(err)), _) => return Err(read_error(attempted(), err).into()),
            (Err(ScanError::Head(_)), _) => {
                return Err(StorageError::new(StorageErrorKind::Corrupt, attempted()).into());
            }
            (Ok(_), Some(unfinished)) => return Err(unfinished),
            (Ok(_), None) => {}
        }
        hint.write(store, listed.number).map_err(|err| {
            let path = store.shown(&hint_path(listed.number));
            write_error(format!("write {path}"), err)
        })?;
        segment.set_hinted(true);
        Ok(())
    }
}
