//! What a store knows of itself, beside the states: partitions, key types, schemas.
//!
//! Each is a small text under a name of its own.

use std::error::Error;
use std::fmt;

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

#[derive(Debug)]
struct SameFingerprint;

impl fmt::Display for SameFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store has another schema of the same fingerprint")
    }
}

impl Error for SameFingerprint {}
