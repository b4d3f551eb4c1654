//! Reads all of a log, to find what is damaged before it is needed.

use crate::storage::log::hint::{HintRead, hint_path};
use crate::storage::log::inner::{Log, damage_of};
use crate::storage::log::report::{LogDamage, LogDamageKind, LogProgress, LogVerifyReport};
use crate::storage::log::scan::Found;
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
        let listed = self.tail.lock().listed();
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
            self.scan_segment(&segment, listed, &mut |found| {
                if let Found::Record { .. } = found {
                    report.records += 1;
                } else if let Some((mut damage, at, id_hash)) = damage_of(&segment, found) {
                    damage.id = id_hash.and_then(|id_hash| self.index.id_of(id_hash));
                    report.damages.push(damage.clone());
                    self.damages.add(damage, at, id_hash);
                    self.drop_hint(&segment);
                }
            })?;
            // One that is missing was removed by the writer, if this is a reader.
            if segment.has_hint() && matches!(self.hint_of(listed), HintRead::Unusable) {
                let file = hint_path(listed.number);
                let kind = LogDamageKind::Hint;
                report.damages.push(LogDamage { file, offset: 0, bytes: 0, kind, id: None });
                // It is made anew.
                segment.set_hint_bytes(0);
                self.orders.want();
            }
            bytes_done += listed.valid_bytes.unwrap_or(0);
            progress(LogProgress { bytes_done, bytes });
        }
        Ok(report)
    }
}
