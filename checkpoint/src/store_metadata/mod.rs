//! What a store knows of itself, beside the states: partitions, key types, schemas, and what it
//! takes to open sealed states.
//!
//! Each is a small value under a name of its own.

#[cfg(any(feature = "encryption", feature = "zstd"))]
mod framed;

use std::error::Error;
use std::fmt;

#[cfg(any(feature = "encryption", feature = "zstd"))]
use crate::checkpoint_id::CheckpointIdRef;
#[cfg(feature = "encryption")]
use crate::record::EncryptionKeys;
#[cfg(feature = "zstd")]
use crate::record::RecordView;
#[cfg(any(feature = "encryption", feature = "zstd"))]
use crate::record::Sealing;
#[cfg(feature = "zstd")]
use crate::record::ZstdDictionary;
use crate::state::SchemaDescription;
use crate::storage::{StateStorage, StorageError, StorageErrorKind};

/// How keys are divided among partitions: the number of partitions, a space, the partitioner's
/// name.
pub(crate) const PARTITIONS: &str = "partitions";

/// The name under which the key type of a prototype is recorded.
pub(crate) fn key_type_name(prototype: &str) -> String {
    // Names of metadata are short; a prototype's name may be as long, so its hash stands for it.
    format!("key-type-{:032x}", xxhash_rust::xxh3::xxh3_128(prototype.as_bytes()))
}

fn schema_name(fingerprint: u64) -> String {
    format!("schema-{fingerprint:016x}")
}

/// Records a value if there is none; otherwise returns the one that there is.
///
/// # Errors
/// The storage failed.
pub(crate) fn record_once(
    storage: &dyn StateStorage,
    name: &str,
    value: &[u8],
) -> Result<Recorded, StorageError> {
    loop {
        if let Some(metadata) = storage.metadata(name)? {
            return Ok(match metadata.bytes == value {
                true => Recorded::AsWanted,
                false => Recorded::Other(metadata.bytes),
            });
        }
        match storage.put_metadata(name, None, value) {
            Ok(_) => return Ok(Recorded::AsWanted),
            // Somebody was quicker: see what he wrote.
            Err(error) if error.kind() == StorageErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is recorded under a name.
pub(crate) enum Recorded {
    /// The value that was to be recorded.
    AsWanted,
    /// Another one.
    Other(Vec<u8>),
}

/// Records the schema of states, for the errors and the tools of later times.
///
/// # Errors
/// The storage failed, or has another schema of the same fingerprint.
pub(crate) fn record_schema(
    storage: &dyn StateStorage,
    schema: &SchemaDescription,
) -> Result<(), StorageError> {
    let name = schema_name(schema.fingerprint());
    match record_once(storage, &name, &schema.to_bytes())? {
        Recorded::AsWanted => Ok(()),
        Recorded::Other(_) => {
            Err(StorageError::new(StorageErrorKind::InvalidStore, format!("record {name}"))
                .with_source(SameFingerprint))
        }
    }
}

/// Returns the schema of this fingerprint, if the store has it, it can be read, and it is that one:
/// metadata has no checksum of its own.
pub(crate) fn stored_schema(
    storage: &dyn StateStorage,
    fingerprint: u64,
) -> Option<SchemaDescription> {
    let metadata = storage.metadata(&schema_name(fingerprint)).ok()??;
    let schema = SchemaDescription::from_bytes(&metadata.bytes).ok()?;
    (schema.fingerprint() == fingerprint).then_some(schema)
}

/// How keys are not those that the store was written with.
#[cfg(feature = "encryption")]
pub(crate) enum KeyMismatch {
    /// Two keys have this number.
    Twice(u32),
    /// The store was written with another key of this number.
    Other(u32),
}

/// Checks that the keys are those which the store was written with before: a wrong one is to be
/// found before anything is encrypted with it. Leaves behind what later keys are checked by.
///
/// # Errors
/// The storage failed.
#[cfg(feature = "encryption")]
pub(crate) fn check_keys(
    storage: &dyn StateStorage,
    keys: &EncryptionKeys,
) -> Result<Result<(), KeyMismatch>, StorageError> {
    let mut seen = Vec::new();
    // Before anything is written.
    for key in keys.all() {
        let id = key.id();
        if seen.contains(&id) {
            return Ok(Err(KeyMismatch::Twice(id)));
        }
        seen.push(id);
    }
    for key in keys.all() {
        let id = key.id();
        let sealing = Sealing::default().with_keys(Some(EncryptionKeys::only(key)));
        let name = format!("encryption-key-{id:08x}");
        let number = id.to_le_bytes();
        let of = CheckpointIdRef { prototype: "\u{1}encryption-key", key: &number };
        let stored = match storage.metadata(&name)? {
            Some(stored) => Some(stored.bytes),
            // Only what is used from now on is to be found later.
            None if id != keys.primary().id() => None,
            None => match record_once(storage, &name, &framed::write(&sealing, of, &[])?)? {
                Recorded::AsWanted => None,
                Recorded::Other(stored) => Some(stored),
            },
        };
        if let Some(stored) = stored
            && framed::read(&sealing, of, &stored)?.is_err()
        {
            return Ok(Err(KeyMismatch::Other(id)));
        }
    }
    Ok(Ok(()))
}

/// Puts a dictionary into the store, encrypted as the states are.
///
/// # Errors
/// The storage failed.
#[cfg(feature = "zstd")]
pub(crate) fn record_dictionary(
    storage: &dyn StateStorage,
    sealing: &Sealing,
    dictionary: &ZstdDictionary,
) -> Result<(), StorageError> {
    let number = dictionary.id().to_le_bytes();
    let (name, of) = dictionary_place(dictionary.id(), &number);
    // Not with itself.
    let sealing = &sealing.without_compression();
    loop {
        let stored = storage.metadata(&name)?;
        let view = stored.as_ref().and_then(|stored| RecordView::parse(&stored.bytes).ok());
        // What is there may be damaged, or encrypted with an older key: it is put there anew.
        if let Some(view) = &view
            && sealing.has_sealed(view.header())
            && sealing.open(view, 0).is_ok_and(|bytes| *bytes == *dictionary.bytes())
        {
            return Ok(());
        }
        if let Some(view) = view
            && view.header().encryption_key_id().is_some()
            && sealing.seals_nothing()
        {
            // It consists of pieces of states: a start without keys does not put it into the clear.
            let attempted = format!("record dictionary {:016x}", dictionary.id());
            let why = "the store has it encrypted, and no keys were given";
            let kind = StorageErrorKind::Forbidden;
            return Err(StorageError::new(kind, format!("{attempted}: {why}")));
        }
        let expected = stored.as_ref().map(|stored| stored.version);
        let bytes = framed::write(sealing, of, dictionary.bytes())?;
        match storage.put_metadata(&name, expected, &bytes) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == StorageErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the dictionary of this id, if the store has it; or why it cannot be opened.
///
/// # Errors
/// The storage failed.
#[cfg(feature = "zstd")]
pub(crate) fn stored_dictionary(
    storage: &dyn StateStorage,
    sealing: &Sealing,
    id: u64,
) -> Result<Result<Option<ZstdDictionary>, crate::record::UnsealError>, StorageError> {
    let number = id.to_le_bytes();
    let (name, of) = dictionary_place(id, &number);
    let Some(stored) = storage.metadata(&name)? else { return Ok(Ok(None)) };
    let bytes = match framed::read(sealing, of, &stored.bytes)? {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    let dictionary = ZstdDictionary::new(bytes).ok();
    Ok(Ok(dictionary.filter(|dictionary| dictionary.id() == id)))
}

#[cfg(feature = "zstd")]
fn dictionary_place(id: u64, number: &[u8]) -> (String, CheckpointIdRef<'_>) {
    let of = CheckpointIdRef { prototype: "\u{1}dictionary", key: number };
    (format!("dictionary-{id:016x}"), of)
}

#[derive(Debug)]
struct SameFingerprint;

impl fmt::Display for SameFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store has another schema of the same fingerprint")
    }
}

impl Error for SameFingerprint {}
