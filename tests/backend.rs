//! The storages over files, as programs are told which of them to use.

use std::path::Path;
use std::sync::Arc;

use checkpoint::{
    DefaultFileSystemStateStorage, Durability, LogStorage, LogStorageBuilder, StateStorage,
    StorageError,
};

/// So little that a few dozen states fill a segment of a log.
const SEGMENT_BYTES: u64 = 16_000;

/// A storage over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    /// `DefaultFileSystemStateStorage`.
    Files,
    /// `LogStorage`, with small segments, so that it compacts all the time.
    Log,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Files, Self::Log];

    /// Returns the one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// Returns its name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Log => "log",
        }
    }

    /// Opens a store of its kind.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn open(self, root: impl AsRef<Path>) -> Result<Arc<dyn StateStorage>, StorageError> {
        self.open_with(root, Durability::Power)
    }

    /// Opens one to be looked at: a log is not compacted meanwhile.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn open_at_rest(
        self,
        root: impl AsRef<Path>,
    ) -> Result<Arc<dyn StateStorage>, StorageError> {
        match self {
            Self::Files => self.open(root),
            Self::Log => Ok(Arc::new(Self::log(root).background_compaction(false).open()?)),
        }
    }

    /// Opens one with this durability.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn open_with(
        self,
        root: impl AsRef<Path>,
        durability: Durability,
    ) -> Result<Arc<dyn StateStorage>, StorageError> {
        let root = root.as_ref();
        Ok(match self {
            Self::Files => {
                let files = DefaultFileSystemStateStorage::builder(root).durability(durability);
                Arc::new(files.open()?)
            }
            Self::Log => Arc::new(Self::log(root).durability(durability).open()?),
        })
    }

    /// Says how a log is opened.
    pub fn log(root: impl AsRef<Path>) -> LogStorageBuilder {
        LogStorage::builder(root.as_ref()).segment_bytes(SEGMENT_BYTES)
    }
}
