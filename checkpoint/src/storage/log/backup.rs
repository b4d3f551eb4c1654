//! Copies a log while it is used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file_ops::{FileOps, SystemFiles, write_all};
use crate::storage::directory::Opening;
use crate::storage::directory::error::{read_error, write_error};
use crate::storage::directory::store::Store;
use crate::storage::log::hint::hint_path;
use crate::storage::log::inner::{Access, Log};
use crate::storage::log::manifest::{Listed, MANIFEST_RECORD, encode};
use crate::storage::log::opening::LAYOUT;
use crate::storage::log::report::{LogBackup, LogProgress};
use crate::storage::log::segment::{SEGMENTS, Segment, segment_path};
use crate::storage::{StorageError, StorageErrorKind};

/// What is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

impl Log {
    /// Makes a copy in the system's directory `to`.
    pub(super) fn backup_to(
        &self,
        to: &Path,
        progress: &mut dyn FnMut(LogProgress),
    ) -> Result<LogBackup, StorageError> {
        let files = SystemFiles::open_or_create(to)
            .map_err(|err| write_error(format!("make a backup at {}", to.display()), err))?;
        self.backup_over(Arc::new(files), to.to_path_buf(), Some(to), progress)
    }

    /// Makes a copy over these file operations, by links below `links` where that is possible.
    pub(super) fn backup_over(
        &self,
        files: Arc<dyn FileOps>,
        root: PathBuf,
        links: Option<&Path>,
        progress: &mut dyn FnMut(LogProgress),
    ) -> Result<LogBackup, StorageError> {
        let target = Opening::prepare_copy(files, root, &LAYOUT)?;
        // No segment goes away meanwhile.
        let _compacting = self.compacting.lock();
        let (segments, metadata) = {
            // Nothing is saved between the two: what the values say of the states is so.
            let writer = self.tail.lock();
            (writer.listed(), self.directory.metadata_files()?)
        };
        let bytes = segments.iter().filter_map(|listed| listed.valid_bytes).sum();
        let mut backup = LogBackup { segments: segments.len() as u64, bytes, bytes_linked: 0 };
        let mut bytes_done = 0;
        progress(LogProgress { bytes_done, bytes });
        let last = segments.last().map(|listed| listed.number);
        for listed in &segments {
            let valid_bytes = listed.valid_bytes.unwrap_or(0);
            // The last one is being written.
            // And under the names of a reader's segments others may lie by now.
            let is_ours = self.access == Access::ReadWrite;
            let links = links.filter(|_| is_ours && Some(listed.number) != last);
            if links.is_some_and(|root| self.link(listed.number, root)) {
                backup.bytes_linked += valid_bytes;
                bytes_done += valid_bytes;
                progress(LogProgress { bytes_done, bytes });
            } else {
                self.copy_segment(*listed, &target, &mut |copied| {
                    bytes_done += copied;
                    progress(LogProgress { bytes_done, bytes });
                })?;
            }
        }
        let synced = target.files.sync_directory(SEGMENTS);
        synced.map_err(|err| write_error(format!("sync {}", target.shown(SEGMENTS)), err))?;
        self.directory.copy_own(&metadata, MANIFEST_RECORD, &encode(&segments), &target)?;
        Ok(backup)
    }

    /// Gives a segment another name below `root`, and its hint; whether it could.
    fn link(&self, number: u32, root: &Path) -> bool {
        let files = &self.directory.store.files;
        let path = segment_path(number);
        // It may have been written when nothing was synced: in the copy it is to last.
        let linked = files
            .link_out(&path, &root.join(&path))
            .and_then(|()| files.open_file(&path)?.sync_data());
        if linked.is_err() {
            return false;
        }
        // Without it the segment is read when the copy is opened, and a hint made.
        let hint = hint_path(number);
        let _not_needed = files.link_out(&hint, &root.join(&hint));
        true
    }

    fn copy_segment(
        &self,
        listed: Listed,
        target: &Store,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), StorageError> {
        let path = segment_path(listed.number);
        let shown = self.directory.store.shown(&path);
        let Some(segment) = self.segments.get(listed.number) else {
            let attempted = format!("copy {shown}, which is to be there");
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
        };
        let written = |err| write_error(format!("write {}", target.shown(&path)), err);
        // Half of it may be there, if it was to be a link.
        match target.files.remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(written(err)),
            Ok(()) | Err(_) => {}
        }
        let file = target.files.create_file(&path).map_err(written)?;
        let mut done = 0;
        let valid_bytes = listed.valid_bytes.unwrap_or(0);
        while done < valid_bytes {
            let chunk = read_chunk(&segment, done, valid_bytes - done)
                .map_err(|err| read_error(format!("read {shown}"), err))?;
            if chunk.is_empty() {
                let attempted = format!("copy {shown}: it ends at byte {done} of {valid_bytes}");
                return Err(StorageError::new(StorageErrorKind::Corrupt, attempted));
            }
            write_all(&*file, &chunk).map_err(written)?;
            done += chunk.len() as u64;
            copied(chunk.len() as u64);
        }
        file.sync_data().map_err(written)
    }
}

fn read_chunk(segment: &Segment, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(CHUNK_BYTES);
    let mut chunk = vec![0; bytes];
    let read = segment.read(&mut chunk, offset)?;
    chunk.truncate(read);
    Ok(chunk)
}
