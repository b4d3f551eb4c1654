//! Sealing: what becomes of a payload between its encoding and the storage, and back. First it is
//! compressed, if that pays; then it is encrypted, together with the header as associated data.
//!
//! Which methods there are is up to the features. What each has done is in sections of the record,
//! so that a reader knows without being told, and one that cannot undo it says so.

mod compression;
#[cfg(feature = "zstd")]
mod dictionary;
#[cfg(feature = "encryption")]
mod encryption;
mod error;
mod opening;
mod sealer;
mod sections;

#[cfg(test)]
mod tests;

use std::fmt;

pub use compression::Compression;
#[cfg(feature = "zstd")]
pub use dictionary::{DICTIONARY_BYTES_MAX, InvalidDictionary, ZstdDictionary};
#[cfg(feature = "encryption")]
pub use encryption::{EncryptionKey, EncryptionKeys};
pub use error::UnsealError;
pub(crate) use sealer::{NoRandomness, Sealer};
pub(super) use sections::Seals;

/// How the payloads of some records are sealed, and what it takes to open them again.
#[derive(Default)]
pub(crate) struct Sealing {
    compression: Compression,
    #[cfg(feature = "zstd")]
    dictionaries: dictionary::Dictionaries,
    #[cfg(feature = "encryption")]
    keys: Option<EncryptionKeys>,
}

impl Sealing {
    pub(crate) fn new(compression: Compression) -> Self {
        Self {
            compression,
            #[cfg(feature = "zstd")]
            dictionaries: dictionary::Dictionaries::default(),
            #[cfg(feature = "encryption")]
            keys: None,
        }
    }

    /// Sets the dictionary that zstd compresses with.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub(crate) fn with_dictionary(mut self, dictionary: Option<&ZstdDictionary>) -> Self {
        if let (Some(dictionary), Compression::Zstd { level }) = (dictionary, self.compression) {
            self.dictionaries.use_own(dictionary, level);
        }
        self
    }

    #[cfg(feature = "encryption")]
    #[must_use]
    pub(crate) fn with_keys(self, keys: Option<EncryptionKeys>) -> Self {
        Self { keys, ..self }
    }

    /// Whether payloads stay as they are.
    pub(crate) fn seals_nothing(&self) -> bool {
        let compresses = self.compression != Compression::None;
        #[cfg(feature = "encryption")]
        let compresses = compresses || self.keys.is_some();
        !compresses
    }

    /// The same for what is not to be compressed.
    #[cfg(feature = "zstd")]
    pub(crate) fn without_compression(&self) -> Self {
        let new = Self::default();
        #[cfg(feature = "encryption")]
        let new = new.with_keys(self.keys.clone());
        new
    }

    /// Takes in a dictionary that records say they were compressed with.
    #[cfg(feature = "zstd")]
    pub(crate) fn add_dictionary(&self, dictionary: &ZstdDictionary) {
        self.dictionaries.add(dictionary);
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sealing");
        shown.field("compression", &self.compression);
        #[cfg(feature = "encryption")]
        shown.field("keys", &self.keys);
        shown.finish_non_exhaustive()
    }
}
