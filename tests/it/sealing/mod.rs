//! States that are compressed and encrypted: they come back, from every storage, and only to
//! whoever may have them. The ids are those of the faults that a test stands for.

mod backends;
mod damage;
mod dictionaries;
mod golden;
mod keys;
mod rewrite;

use std::sync::Arc;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, CheckpointingConfigBuilder, Compression, EncryptionKey, EncryptionKeys,
    FetchVersion, PePrototype, ProcessError, RecordHeader, RestoreFailure, SafeKeeper,
    SafeKeeperBuilder, SaveOutcome, StateLimits, StateStorage, UnsealError, ZstdDictionary,
    encode_state,
};

use crate::support::FAIL_SAFE;

type Texts = PePrototype<String, String>;

const ZSTD: Compression = Compression::Zstd { level: 3 };

fn key(id: u32) -> EncryptionKey {
    EncryptionKey::new(id, [id.to_le_bytes()[0]; 32])
}

fn keys(id: u32) -> EncryptionKeys {
    EncryptionKeys::new(key(id))
}

fn texts(keeper: &SafeKeeper, config: CheckpointingConfigBuilder) -> Texts {
    let builder = keeper.prototype("texts").config(config.build().unwrap());
    builder.create(|_: &String| String::new()).build().unwrap()
}

fn over(storage: &Arc<dyn StateStorage>) -> SafeKeeperBuilder {
    SafeKeeper::builder_over(storage.clone())
}

/// Has each of these keys store this text.
fn store<'a>(texts: &Texts, all: impl IntoIterator<Item = (&'a str, String)>) {
    for (key, text) in all {
        texts.process(key, |state| *state = text).unwrap();
    }
    texts.flush(FAIL_SAFE).unwrap();
}

/// Stores this text under this key by a keeper of its own.
fn stored(builder: SafeKeeperBuilder, key: &str, text: &str) {
    let keeper = builder.build().unwrap();
    store(&texts(&keeper, crate::support::manual()), [(key, text.to_owned())]);
    keeper.close(FAIL_SAFE).unwrap();
}

fn id(key: &str) -> CheckpointId {
    CheckpointId::new("texts", key).unwrap()
}

/// The record that is stored under a key.
#[track_caller]
fn record(storage: &dyn StateStorage, key: &str) -> Vec<u8> {
    conformance::fetch(storage, &id(key), FetchVersion::Newest).unwrap().unwrap()
}

/// Puts a record into a storage, past every keeper.
#[track_caller]
fn put(storage: &dyn StateStorage, record: Vec<u8>) {
    let outcomes = conformance::save(storage, &[record]);
    assert!(matches!(outcomes[..], [SaveOutcome::Stored]), "{outcomes:?}");
}

/// The key that a stored record is encrypted with, and whether it is compressed.
#[track_caller]
fn sealed(storage: &dyn StateStorage, key: &str) -> (Option<u32>, bool) {
    let record = record(storage, key);
    let header = RecordHeader::parse(&record).unwrap();
    (header.encryption_key_id(), header.is_compressed())
}

/// Checks that a PE is not restored, whose record cannot be opened, and says why.
#[track_caller]
fn not_opened(texts: &Texts, key: &str) -> UnsealError {
    match texts.read(key, String::clone) {
        Err(ProcessError::Restore(error)) => {
            assert_eq!(error.id(), &id(key));
            match error.reason() {
                RestoreFailure::Sealed { error, .. } => (**error).clone(),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Makes the checksums of a changed record right again, as whoever means harm would.
fn with_checksums(mut record: Vec<u8>) -> Vec<u8> {
    let header_end = RecordHeader::parse(&record).map_or_else(
        |_| {
            let number = |at: usize, bytes: usize| {
                let bytes = record[at..at + bytes].iter().rev();
                bytes.fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
            };
            68 + number(6, 2) + number(8, 4) + number(20, 4)
        },
        |header| header.header_bytes() - 4,
    );
    let end = record.len() - 4;
    let crc = crc32c::crc32c(&record[..header_end]);
    record[header_end..header_end + 4].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&record[..end]);
    record[end..].copy_from_slice(&crc.to_le_bytes());
    record
}

/// A dictionary of texts such as `text` makes them.
fn dictionary() -> ZstdDictionary {
    let samples: Vec<String> = (0..2_000).map(|n| text(&n.to_string())).collect();
    let encoded = |sample| encode_state(sample, &StateLimits::DEFAULT).unwrap();
    let encoded: Vec<_> = samples.iter().map(encoded).collect();
    ZstdDictionary::train(&encoded, 8 * 1024).unwrap()
}

fn text(of: &str) -> String {
    format!("canary of {of}: the words that all of them have, again and again and again, {of}")
}
