//! The files of a store, without what is in them: temporary files, replacing, paths for messages.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::file_ops::{FileOps, read_prefix, write_all};
use crate::record::{RecordError, RecordErrorKind, RecordHeader};
use crate::storage::directory::error::read_error;
use crate::storage::{StorageError, StorageErrorKind};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Marks a directory as a store; written last when one is created.
pub(in crate::storage) const IDENTITY: &str = "store";
/// The directory of files that are being written. They are renamed from here to where they belong,
/// so that those of a crashed process are found without looking through all directories.
pub(in crate::storage) const TEMPORARY: &str = "temp";
/// Most headers fit, so that one read is enough.
const HEADER_BYTES_USUAL: usize = 4096;

#[derive(Debug)]
pub(in crate::storage) struct Store {
    pub(in crate::storage) files: Arc<dyn FileOps>,
    // As the user gave it, for messages only.
    root: PathBuf,
    // Whether to wait until what is written survives a loss of power.
    pub(in crate::storage) synced: bool,
    next_temporary: AtomicU64,
    // Temporary files that could not be removed. Nothing more is written while there are any: a
    // disk that fails again and again is not filled with them.
    leftovers: Mutex<BTreeSet<String>>,
}

/// How a replaced file was left by an attempt that failed.
pub(in crate::storage) enum ReplaceError {
    /// As it was.
    NotDone(io::Error),
    /// As it was, or replaced.
    Unknown(io::Error),
}

impl ReplaceError {
    pub(in crate::storage) fn into_inner(self) -> io::Error {
        match self {
            Self::NotDone(err) | Self::Unknown(err) => err,
        }
    }
}

impl Store {
    pub(in crate::storage) fn new(files: Arc<dyn FileOps>, root: PathBuf, synced: bool) -> Self {
        let next_temporary = AtomicU64::new(0);
        Self { files, root, synced, next_temporary, leftovers: Mutex::default() }
    }

    /// Returns a path below the root as a message shows it.
    pub(in crate::storage) fn shown(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    /// Checks that the store has not been removed under our feet: only then does a missing file
    /// mean that there is none.
    pub(in crate::storage) fn check_present(&self) -> Result<(), StorageError> {
        match self.files.open_file(IDENTITY) {
            Ok(_) => Ok(()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let attempted = format!("find the store that was open at {}", self.shown(""));
                Err(StorageError::new(StorageErrorKind::InvalidStore, attempted).with_source(err))
            }
            Err(err) => Err(read_error(format!("read {}", self.shown(IDENTITY)), err)),
        }
    }

    /// Writes a file that has no place yet and returns its path.
    pub(in crate::storage) fn write_temporary(
        &self,
        bytes: &[u8],
        synced: bool,
    ) -> io::Result<String> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = format!("{TEMPORARY}/{number:x}");
        let file = self.files.create_file(&path)?;
        let written = write_all(&*file, bytes).and_then(|()| match synced {
            true => file.sync_data(),
            false => Ok(()),
        });
        // What could not be written or synced is thrown away and never tried again: the system may
        // have dropped the data and report success the next time.
        written.inspect_err(|_| self.discard(&path))?;
        Ok(path)
    }

    /// Removes a temporary file, now or before the next one is written.
    pub(in crate::storage) fn discard(&self, temporary: &str) {
        match self.files.remove_file(temporary) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                self.leftovers.lock().insert(temporary.to_owned());
            }
        }
    }

    /// Removes the temporary files that could not be removed before.
    pub(in crate::storage) fn clear_leftovers(&self) -> io::Result<()> {
        let mut leftovers = self.leftovers.lock();
        while let Some(path) = leftovers.first() {
            match self.files.remove_file(path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                Ok(()) | Err(_) => leftovers.pop_first(),
            };
        }
        Ok(())
    }

    /// Puts a file in place of another, or where there was none; it is durable before this returns.
    pub(in crate::storage) fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ReplaceError> {
        self.clear_leftovers().map_err(ReplaceError::NotDone)?;
        let temporary = self.write_temporary(bytes, true).map_err(ReplaceError::NotDone)?;
        self.files.rename(&temporary, path).map_err(|err| {
            self.discard(&temporary);
            ReplaceError::Unknown(err)
        })?;
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        self.files.sync_directory(directory).map_err(ReplaceError::Unknown)
    }

    /// Reads a whole file, which must not have more bytes than this.
    pub(in crate::storage) fn read(
        &self,
        path: &str,
        bytes_max: u64,
    ) -> io::Result<Result<Vec<u8>, TooLong>> {
        let file = self.files.open_file(path)?;
        if file.file_bytes()? > bytes_max {
            return Ok(Err(TooLong));
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(Ok(read_prefix(&*file, bytes_max)?))
    }

    /// Reads the header of the record in a file; the payload is neither read nor checked.
    pub(in crate::storage) fn with_header<R>(
        &self,
        path: &str,
        look: impl FnOnce(Result<RecordHeader<'_>, RecordError>) -> R,
    ) -> io::Result<R> {
        let file = self.files.open_file(path)?;
        let bytes = read_prefix(&*file, HEADER_BYTES_USUAL)?;
        match RecordHeader::parse(&bytes) {
            Err(err) if bytes.len() == HEADER_BYTES_USUAL => match err.kind() {
                // The longest possible header is bounded, and so is what is read here.
                RecordErrorKind::Truncated { needed, .. } => {
                    Ok(look(RecordHeader::parse(&read_prefix(&*file, needed)?)))
                }
                _ => Ok(look(Err(err))),
            },
            header => Ok(look(header)),
        }
    }
}

/// The file has more bytes than can be read.
pub(in crate::storage) struct TooLong;
