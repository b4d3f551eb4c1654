//! Dictionaries of zstd: what small states have in common, so that each need not say it again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::sync::Mutex;

/// The most bytes that a dictionary may have: it is kept in the store, beside the states.
pub const DICTIONARY_BYTES_MAX: usize = 512 * 1024;

/// How many dictionaries of others are kept at hand.
const DECODERS_MAX: usize = 16;

/// A dictionary that zstd compresses states with.
///
/// States of some hundred bytes have little in them that repeats, but much that they have in common
/// with each other. A dictionary that was trained with some thousands of them, encoded by
/// [`encode_state`](crate::encode_state), makes them several times smaller. It is kept in the
/// store, encrypted if the states are, since it consists of pieces of them: whatever was compressed
/// with it can be restored, also by a program that has another one or none.
///
/// # Examples
/// ```
/// use checkpoint::ZstdDictionary;
///
/// let samples: Vec<String> =
///     (0..2_000).map(|n| format!("name: user {n}; address: {} Long Street", n * 7)).collect();
/// let dictionary = ZstdDictionary::train(&samples, 4 * 1024)?;
/// assert!(dictionary.bytes().len() <= 4 * 1024);
/// # Ok::<(), checkpoint::InvalidDictionary>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ZstdDictionary {
    id: u64,
    bytes: Arc<[u8]>,
}

/// Why bytes are no dictionary, or samples give none.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidDictionary {
    /// There are no bytes, or too many.
    #[error("a dictionary of {bytes} bytes is none: it has 1 to {DICTIONARY_BYTES_MAX}")]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// zstd does not take it.
    #[error("zstd does not take the bytes as a dictionary")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The samples are too few, too small or too large together.
    #[error("zstd cannot train a dictionary with these samples")]
    Samples(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ZstdDictionary {
    /// Returns the dictionary that these bytes are, made by [`train`](Self::train) or by the tool
    /// of zstd. Any other bytes do too: what states have in common.
    ///
    /// # Errors
    /// There are no bytes or too many, or zstd does not take them.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, InvalidDictionary> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > DICTIONARY_BYTES_MAX {
            return Err(InvalidDictionary::Length { bytes: bytes.len() });
        }
        DecoderDictionary::try_copy(&bytes)
            .map_err(|error| InvalidDictionary::Refused(Box::new(error)))?;
        let id = Sha256::digest(&bytes).first_chunk().map_or(0, |id| u64::from_le_bytes(*id));
        Ok(Self { id: id.max(1), bytes })
    }

    /// Trains a dictionary with samples, which are encoded states as
    /// [`encode_state`](crate::encode_state) returns them.
    ///
    /// A hundred times as many bytes of samples as the dictionary may have is a good number; for
    /// small states a dictionary of 16 to 112 KiB.
    ///
    /// # Errors
    /// The samples are too few, too small or too large together, or `bytes_max` is out of range.
    pub fn train<S: AsRef<[u8]>>(
        samples: &[S],
        bytes_max: usize,
    ) -> Result<Self, InvalidDictionary> {
        if bytes_max == 0 || bytes_max > DICTIONARY_BYTES_MAX {
            return Err(InvalidDictionary::Length { bytes: bytes_max });
        }
        let bytes = zstd::dict::from_samples(samples, bytes_max)
            .map_err(|error| InvalidDictionary::Samples(Box::new(error)))?;
        Self::new(bytes)
    }

    /// Returns what names the dictionary in records: a hash of its bytes, never 0.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for ZstdDictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its bytes are pieces of states.
        write!(f, "ZstdDictionary({:016x}, {} bytes)", self.id, self.bytes.len())
    }
}

/// The dictionary of a prototype, and those that its records were compressed with before.
#[derive(Default)]
pub(super) struct Dictionaries {
    own: Option<(u64, EncoderDictionary<'static>)>,
    // Guards a cache.
    decoders: Mutex<HashMap<u64, Arc<DecoderDictionary<'static>>>>,
}

impl Dictionaries {
    pub(super) fn use_own(&mut self, dictionary: &ZstdDictionary, level: i32) {
        // Where there is no memory for it, states are compressed without.
        let encoder = EncoderDictionary::try_copy(&dictionary.bytes, level).ok();
        self.own = encoder.map(|encoder| (dictionary.id, encoder));
        self.add(dictionary);
    }

    pub(super) fn own_encoder(&self) -> Option<(&EncoderDictionary<'static>, u64)> {
        self.own.as_ref().map(|(id, encoder)| (encoder, *id))
    }

    pub(super) fn decoder(&self, id: u64) -> Option<Arc<DecoderDictionary<'static>>> {
        self.decoders.lock().get(&id).cloned()
    }

    pub(super) fn add(&self, dictionary: &ZstdDictionary) {
        let Ok(decoder) = DecoderDictionary::try_copy(&dictionary.bytes) else { return };
        let own = self.own.as_ref().map(|(id, _)| *id);
        let mut decoders = self.decoders.lock();
        if decoders.len() >= DECODERS_MAX
            && let Some(other) = decoders.keys().find(|id| Some(**id) != own).copied()
        {
            decoders.remove(&other);
        }
        decoders.insert(dictionary.id, Arc::new(decoder));
    }
}
