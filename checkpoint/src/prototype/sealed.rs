//! How a prototype's states are sealed, and how what is stored of them is opened.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::CheckpointingConfig;
use crate::framework::{RegisterError, Registration};
use crate::prototype::inner::Inner;
use crate::record::{RecordView, Sealing, UnsealError};
use crate::restore_error::RestoreFailure;
use crate::storage::StateStorage;

/// Returns how the states of a prototype are sealed; its dictionary is in the store then.
pub(crate) fn sealing(
    name: &str,
    config: &CheckpointingConfig,
    registration: &Registration,
    storage: Option<&dyn StateStorage>,
) -> Result<Arc<Sealing>, RegisterError> {
    let compression = config.compression().unwrap_or(registration.compression);
    let sealing = Sealing::new(compression);
    #[cfg(feature = "encryption")]
    let sealing = sealing.with_keys(registration.keys.clone());
    #[cfg(feature = "zstd")]
    let sealing = sealing.with_dictionary(config.dictionary());
    #[cfg(feature = "zstd")]
    if let Some(dictionary) = config.dictionary() {
        let name = || name.to_owned();
        if !compression.takes_dictionary() {
            let reason = "a dictionary is set, and states are not compressed by zstd";
            return Err(RegisterError::Unsupported { name: name(), reason });
        }
        if let Some(storage) = storage {
            crate::store_metadata::record_dictionary(storage, &sealing, dictionary)
                .map_err(|error| RegisterError::Storage { name: name(), error })?;
        }
    }
    #[cfg(not(feature = "zstd"))]
    // Only dictionaries need them.
    let _ = (name, storage);
    Ok(Arc::new(sealing))
}

impl<K, P> Inner<K, P> {
    /// Returns the encoded state that a record holds.
    pub(super) fn open<'a>(&self, view: &RecordView<'a>) -> Result<Cow<'a, [u8]>, RestoreFailure> {
        let bytes_max = self.config.state_bytes_max();
        let opened = match self.sealing.open(view, bytes_max) {
            Err(UnsealError::MissingDictionary { dictionary }) => {
                self.find_dictionary(dictionary).map_err(|error| sealed(view, error))?;
                self.sealing.open(view, bytes_max)
            }
            opened => opened,
        };
        opened.map_err(|error| sealed(view, error))
    }

    /// Takes in a dictionary that the store has, if it has it.
    #[cfg(feature = "zstd")]
    fn find_dictionary(&self, id: u64) -> Result<(), UnsealError> {
        let Some(storage) = self.storage() else { return Ok(()) };
        // Nothing of this is the fault of the state: no policy may start without it.
        let unreadable = |reason| UnsealError::UnreadableDictionary { dictionary: id, reason };
        let found = crate::store_metadata::stored_dictionary(&*storage, &self.sealing, id)
            .map_err(|error| unreadable(error.to_string()))?;
        match found {
            Ok(Some(dictionary)) => self.sealing.add_dictionary(&dictionary),
            Ok(None) => {}
            Err(error) if error.is_of_state() => return Err(unreadable(error.to_string())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    #[cfg(not(feature = "zstd"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "with zstd they are used")]
    fn find_dictionary(&self, _id: u64) -> Result<(), UnsealError> {
        Ok(())
    }
}

fn sealed(view: &RecordView<'_>, error: UnsealError) -> RestoreFailure {
    RestoreFailure::Sealed { version: view.header().version, error: Arc::new(error) }
}
