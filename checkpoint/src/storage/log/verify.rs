//! Reads all of a log, to find what is damaged before it is needed.

use std::sync::Arc;

use crate::storage::directory::error::read_error;
use crate::storage::log::hint::{HintRead, hint_path};
use crate::storage::log::inner::{Access, Log, damage_of};
use crate::storage::log::manifest::{Listed, MANIFEST_RECORD};
use crate::storage::log::report::{LogDamage, LogDamageKind, LogProgress, LogVerifyReport};
use crate::storage::log::scan::Found;
use crate::storage::log::segment::{Segment, segment_path};
use crate::storage::{StorageError, StorageErrorKind};

impl Log {
    /// Reads the store's own files, and all segments as far as they count now.
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
        let own = self.directory.verify_own(&[MANIFEST_RECORD])?;
        report.damages.extend(own.into_iter().map(LogDamage::from));
        for listed in listed {
            if let Err(err) = self.verify_segment(listed, &mut report) {
                let kind = match err.kind() {
                    StorageErrorKind::Unavailable => return Err(err),
                    StorageErrorKind::InvalidStore => LogDamageKind::Missing,
                    _ => LogDamageKind::Unreadable,
                };
                tracing::error!(target: "checkpoint", error = %err, "a segment cannot be read");
                let file = segment_path(listed.number);
                report.damages.push(LogDamage { file, offset: 0, bytes: 0, kind, id: None });
            }
            self.verify_hint(listed, &mut report);
            bytes_done += listed.valid_bytes.unwrap_or(0);
            progress(LogProgress { bytes_done, bytes });
        }
        Ok(report)
    }

    fn verify_segment(
        &self,
        listed: Listed,
        report: &mut LogVerifyReport,
    ) -> Result<(), StorageError> {
        let segment = self.segment_to_verify(listed)?;
        self.scan_segment(&segment, listed, &mut |found| {
            if let Found::Record { .. } = found {
                report.records += 1;
            } else if let Some((mut damage, at, id_hash)) = damage_of(&segment, found) {
                damage.id = id_hash.and_then(|id_hash| self.index.id_of(id_hash));
                report.damages.push(damage.clone());
                self.damages.add(damage, at, id_hash);
                if let Some(segment) = self.segments.get(listed.number) {
                    self.drop_hint(&segment);
                }
            }
        })
    }

    /// The file that is under a segment's name now, which the next opening would find.
    ///
    /// That of a reader may be gone, since its writer has compacted it: what is open is read.
    fn segment_to_verify(&self, listed: Listed) -> Result<Arc<Segment>, StorageError> {
        if self.access == Access::ReadOnly
            && let Some(segment) = self.segments.get(listed.number)
        {
            return Ok(segment);
        }
        let store = &self.directory.store;
        let opened = Segment::open(&*store.files, listed.number, listed.order);
        opened.map(Arc::new).map_err(|err| {
            read_error(format!("open {}", store.shown(&segment_path(listed.number))), err)
        })
    }

    fn verify_hint(&self, listed: Listed, report: &mut LogVerifyReport) {
        let Some(segment) = self.segments.get(listed.number) else { return };
        // One that is missing was removed by the writer, if this is a reader.
        if segment.has_hint() && matches!(self.hint_of(listed), HintRead::Unusable) {
            let file = hint_path(listed.number);
            let kind = LogDamageKind::Hint;
            report.damages.push(LogDamage { file, offset: 0, bytes: 0, kind, id: None });
            // It is made anew.
            segment.set_hint_bytes(0);
            self.orders.want(false);
        }
    }
}
