//! Why the payload of a sound record cannot be had.

use thiserror::Error;

/// Why the payload of a record cannot be opened, although no byte of the record is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// It is encrypted with a key that is not among those that were given.
    #[error("it is encrypted with key {key}, which is not among the keys that were given")]
    MissingKey {
        /// The key's id.
        key: u32,
    },
    /// The key of this id does not open it.
    #[error(
        "key {key} does not open it: this is not the key that it was encrypted with, or somebody \
         who does not have that has changed or moved the record"
    )]
    WrongKey {
        /// The key's id.
        key: u32,
    },
    /// It is not encrypted, and the keys say that such records are refused.
    #[error("it is not encrypted, and what is not is refused")]
    NotEncrypted,
    /// It is compressed with a dictionary that neither the prototype nor the store has.
    #[error(
        "it is compressed with dictionary {dictionary:016x}, which neither the prototype nor the \
         store has"
    )]
    MissingDictionary {
        /// The dictionary's id.
        dictionary: u64,
    },
    /// It is compressed with a dictionary that the store has, and that cannot be read there.
    #[error("it is compressed with dictionary {dictionary:016x}, which cannot be read: {reason}")]
    UnreadableDictionary {
        /// The dictionary's id.
        dictionary: u64,
        /// Why it cannot be read.
        reason: String,
    },
    /// It takes a feature that this program was built without.
    #[error("it takes the feature `{feature}` of the library, which this program is built without")]
    NotBuiltIn {
        /// The feature.
        feature: &'static str,
    },
    /// A newer library has sealed it, in a way that this one does not know.
    #[error("it is sealed by method {method}, which this library does not know: use a newer one")]
    UnknownMethod {
        /// The number of the method.
        method: u8,
    },
    /// There is no memory for it.
    #[error("there is no memory for the {bytes} bytes that it has when it is decompressed")]
    NoMemory {
        /// How many bytes it needs.
        bytes: u64,
    },
    /// It would be larger than a state may be.
    #[error("it has {bytes} bytes when it is decompressed, and a state may have {bytes_max}")]
    TooLarge {
        /// How many bytes it says that it has.
        bytes: u64,
        /// How many a state may have.
        bytes_max: u64,
    },
    /// What is compressed in it is not what its compression could have made.
    #[error("what is compressed in it cannot be decompressed")]
    NotDecompressible,
}

impl UnsealError {
    /// Whether it is the state that is no good, and not what the program was given to open it:
    /// then another program could not open it either.
    pub(crate) fn is_of_state(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::NotDecompressible)
    }
}
