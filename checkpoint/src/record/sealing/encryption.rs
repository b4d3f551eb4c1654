//! Encryption: keys, and what is done with them to one payload.
//!
//! XChaCha20-Poly1305. Its nonces have 192 bits, so that they can be drawn at random for ever; they
//! come from the operating system, each anew: whatever this process has in memory, a clone of its
//! machine would have too.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::{Zeroize, Zeroizing};

use crate::record::RecordView;
use crate::record::layout::{NONCE_BYTES, TAG_BYTES};
use crate::record::sealing::sections::Encrypted;
use crate::record::sealing::{NoRandomness, Sealing, UnsealError};

const XCHACHA20_POLY1305: u8 = 1;

/// A key that states are encrypted with, and the number that names it.
///
/// The number is in each record, in the clear; the key nowhere. It is wiped from memory when the
/// last clone is dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct EncryptionKey {
    id: u32,
    bytes: Arc<Zeroizing<[u8; 32]>>,
}

impl EncryptionKey {
    /// Returns the key of this number, which must never name another one.
    ///
    /// The 32 bytes must be drawn at random by something that is made for it. A password is none.
    #[must_use]
    pub fn new(id: u32, mut bytes: [u8; 32]) -> Self {
        let mut kept = Arc::new(Zeroizing::new([0; 32]));
        // Copied to where it stays, so that no copy is left behind on the way.
        if let Some(kept) = Arc::get_mut(&mut kept) {
            kept.copy_from_slice(&bytes);
        }
        bytes.zeroize();
        Self { id, bytes: kept }
    }

    /// Returns the number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.bytes).into())
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id)
    }
}

/// The keys of a keeper: the primary one, which states are encrypted with, and older ones, which
/// open what was encrypted before.
///
/// To change the key, make the new one the primary and the old one an older one; states move on
/// as they are saved, and [`PePrototype::rewrite`](crate::PePrototype::rewrite) moves the rest.
/// After that the old one is needed only for older versions and for what is in quarantine.
///
/// # Examples
/// ```
/// use checkpoint::{EncryptionKey, EncryptionKeys, InMemoryStorage, SafeKeeper};
///
/// # let (secret, last_years_secret) = ([1; 32], [2; 32]);
/// let keys = EncryptionKeys::new(EncryptionKey::new(2026, secret))
///     .with_older(EncryptionKey::new(2025, last_years_secret));
/// let keeper = SafeKeeper::builder(InMemoryStorage::new()).encryption(keys).build()?;
/// # Ok::<(), checkpoint::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct EncryptionKeys {
    primary: EncryptionKey,
    older: Vec<EncryptionKey>,
    refuses_unencrypted: bool,
}

impl EncryptionKeys {
    /// Returns the keys of which this is the primary one, and there is no other.
    #[must_use]
    pub fn new(primary: EncryptionKey) -> Self {
        Self { primary, older: Vec::new(), refuses_unencrypted: false }
    }

    /// Adds a key that opens what was encrypted with it before.
    #[must_use]
    pub fn with_older(mut self, key: EncryptionKey) -> Self {
        self.older.push(key);
        self
    }

    /// Has states refused that are not encrypted. By default they are restored, so that a store can
    /// be encrypted that was not; but whoever can write to the store can then slip in a state of
    /// his own. To be set once everything is encrypted.
    #[must_use]
    pub fn refusing_unencrypted(mut self) -> Self {
        self.refuses_unencrypted = true;
        self
    }

    /// Returns the key that states are encrypted with.
    #[must_use]
    pub fn primary(&self) -> &EncryptionKey {
        &self.primary
    }

    /// Returns all keys, the primary one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &EncryptionKey> {
        std::iter::once(&self.primary).chain(&self.older)
    }

    /// Returns the keys that are this one alone.
    pub(crate) fn only(key: &EncryptionKey) -> Self {
        Self::new(key.clone()).refusing_unencrypted()
    }
}

/// Encrypts payloads, one after the other.
pub(super) struct Encryptor {
    cipher: XChaCha20Poly1305,
    key: u32,
    // Drawn for many records at once, each used once.
    nonces: Vec<[u8; NONCE_BYTES]>,
    fill: Fill,
}

/// Fills bytes with random ones; `false` if it cannot.
pub(super) type Fill = fn(&mut [u8]) -> bool;

fn from_the_system(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

impl Encryptor {
    pub(super) fn new(sealing: &Sealing, records: usize) -> Option<Self> {
        sealing.keys.as_ref().map(|keys| Self::with(&keys.primary, records, from_the_system))
    }

    pub(super) fn with(key: &EncryptionKey, records: usize, fill: Fill) -> Self {
        let mut new = Self { cipher: key.cipher(), key: key.id, nonces: Vec::new(), fill };
        // If that fails, each record asks again.
        new.draw(records).ok();
        new
    }

    fn draw(&mut self, count: usize) -> Result<(), NoRandomness> {
        let mut nonces = vec![[0; NONCE_BYTES]; count];
        if !(self.fill)(nonces.as_flattened_mut()) {
            return Err(NoRandomness);
        }
        self.nonces = nonces;
        Ok(())
    }

    pub(super) fn section(&mut self) -> Result<Encrypted, NoRandomness> {
        if self.nonces.is_empty() {
            self.draw(1)?;
        }
        let nonce = self.nonces.pop().ok_or(NoRandomness)?;
        Ok(Encrypted { method: XCHACHA20_POLY1305, key: self.key, nonce })
    }

    /// Encrypts a payload in its place, and returns the tag that goes behind it.
    pub(super) fn encrypt(
        &self,
        with: &Encrypted,
        header: &[u8],
        payload: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let nonce = (&with.nonce).into();
        // The only error is a payload of 256 GiB.
        self.cipher.encrypt_inout_detached(nonce, header, payload.into()).ok().map(Into::into)
    }
}

impl Sealing {
    pub(super) fn decrypt(
        &self,
        view: &RecordView<'_>,
        with: &Encrypted,
    ) -> Result<Vec<u8>, UnsealError> {
        if with.method != XCHACHA20_POLY1305 {
            return Err(UnsealError::UnknownMethod { method: with.method });
        }
        let (key, wrong) = (with.key, UnsealError::WrongKey { key: with.key });
        let mut known = self.keys.iter().flat_map(EncryptionKeys::all);
        let key = known.find(|known| known.id == key).ok_or(UnsealError::MissingKey { key })?;
        let Some((payload, tag)) = view.payload().split_last_chunk::<TAG_BYTES>() else {
            return Err(wrong);
        };
        let mut payload = payload.to_vec();
        let (nonce, buffer) = ((&with.nonce).into(), payload.as_mut_slice().into());
        match key.cipher().decrypt_inout_detached(nonce, view.header_part(), buffer, tag.into()) {
            Ok(()) => Ok(payload),
            Err(_) => Err(wrong),
        }
    }

    pub(super) fn refuses_unencrypted(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.refuses_unencrypted)
    }
}
