//! Wires a keeper and the file system storage in one step.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::safe_keeper::{BuildError, SafeKeeper, SafeKeeperBuilder, SafeKeeperSettings};
use crate::storage::{DefaultFileSystemStateStorage, StorageError};

/// A [`SafeKeeper`] over a [`DefaultFileSystemStateStorage`], from one set of settings.
///
/// The store is where [`SafeKeeperSettings::filesystem_storage_root_path`] says, which a file or
/// the environment can set like all settings.
///
/// # Examples
/// ```no_run
/// use checkpoint::FileSystemBackendCheckpointingModule;
///
/// let keeper = FileSystemBackendCheckpointingModule::new("state").build()?;
/// # Ok::<(), checkpoint::ModuleError>(())
/// ```
#[doc(alias = "org.apache.s4.core.ft.FileSystemBackendCheckpointingModule")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a module does nothing before `build`"]
pub struct FileSystemBackendCheckpointingModule {
    settings: SafeKeeperSettings,
}

/// Why the module could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The storage could not be opened.
    #[error("cannot open the file system storage")]
    Storage(#[source] StorageError),
    /// The keeper could not be built.
    #[error("cannot build the keeper over the file system storage")]
    Keeper(#[source] BuildError),
}

impl FileSystemBackendCheckpointingModule {
    /// Returns a module with the store in this directory, and default settings.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let filesystem_storage_root_path = root.into();
        Self { settings: SafeKeeperSettings { filesystem_storage_root_path, ..Default::default() } }
    }

    /// Returns a module with these settings, the directory of the store among them.
    pub fn with_settings(settings: SafeKeeperSettings) -> Self {
        Self { settings }
    }

    /// Returns the directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.settings.filesystem_storage_root_path
    }

    /// Opens the store and returns a builder of the keeper over it, for what settings cannot say.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn open(&self) -> Result<SafeKeeperBuilder, StorageError> {
        let storage = DefaultFileSystemStateStorage::builder(self.root());
        let storage = storage.log_keys(self.settings.log_keys).open()?;
        Ok(SafeKeeper::builder(storage).settings(self.settings.clone()))
    }

    /// Opens the store and builds the keeper.
    ///
    /// # Errors
    /// The store cannot be opened, or the keeper cannot be built over it.
    pub fn build(&self) -> Result<SafeKeeper, ModuleError> {
        self.open().map_err(ModuleError::Storage)?.build().map_err(ModuleError::Keeper)
    }
}
