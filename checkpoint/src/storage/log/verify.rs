//! Reads all of a log, to find what is damaged before it is needed.

use crate::storage::directory::error::read_error;
use crate::storage::log::hint::{Hint, HintRead, hint_path};
use crate::storage::log::inner::{Log, damage_of};
use crate::storage::log::layout::SegmentHead;
use crate::storage::log::manifest::Listed;
use crate::storage::log::report::{LogDamage, LogDamageKind, LogProgress, LogVerifyReport};
use crate::storage::log::scan::{Found, ScanError, scan};
use crate::storage::log::segment::segment_path;
use crate::storage::{StorageError, StorageErrorKind};

impl Log {
    /// Reads all segments as far as they count now.
    pub(super) fn verify(
        &self,
        progress: &mut dyn FnMut(LogProgress),
    ) -> Result<LogVerifyReport, StorageError> {
        // No segment goes away meanwhile.
        let _compacting = self.compacting.lock();
        let listed = self.writer.lock().listed();
        let bytes = listed.iter().filter_map(|listed| listed.valid_bytes).sum();
        let mut report = LogVerifyReport { bytes, ..LogVerifyReport::default() };
        let mut bytes_done = 0;
        progress(LogProgress { bytes_done, bytes });
        for listed in listed {
            let path = || self.directory.store.shown(&segment_path(listed.number));
            let Some(segment) = self.segments.get(listed.number) else {
                let attempted = format!("read {}, which is to be there", path());
                return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
            };
            let head = SegmentHead { number: listed.number, identity: self.directory.identity() };
            let scanned = scan(&segment, head, listed, &mut |found| {
                if let Found::Record { .. } = found {
                    report.records += 1;
                } else if let Some((mut damage, at, id_hash)) = damage_of(&segment, found) {
                    damage.id = id_hash.and_then(|id_hash| self.index.id_of(id_hash));
                    report.damages.push(damage.clone());
                    self.damages.add(damage, at, id_hash);
                }
            });
            scanned.map_err(|err| match err {
                ScanError::Io(err) => read_error(format!("read {}", path()), err),
                ScanError::Head(_) => {
                    StorageError::new(StorageErrorKind::Corrupt, format!("read {}", path()))
                }
            })?;
            if segment.has_hint() && !self.has_sound_hint(listed, head)? {
                let file = hint_path(listed.number);
                let kind = LogDamageKind::Hint;
                report.damages.push(LogDamage { file, offset: 0, bytes: 0, kind, id: None });
                // It is made anew.
                segment.set_hinted(false);
                self.orders.want();
            }
            bytes_done += listed.valid_bytes.unwrap_or(0);
            progress(LogProgress { bytes_done, bytes });
        }
        Ok(report)
    }

    fn has_sound_hint(&self, listed: Listed, head: SegmentHead) -> Result<bool, StorageError> {
        let store = &self.directory.store;
        let read = Hint::read(store, head, listed.valid_bytes.unwrap_or(0)).map_err(|err| {
            read_error(format!("read {}", store.shown(&hint_path(listed.number))), err)
        })?;
        Ok(matches!(read, HintRead::Found(_)))
    }
}
