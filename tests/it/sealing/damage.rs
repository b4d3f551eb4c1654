//! Sealed records that were damaged, and such as mean harm.

use std::sync::Arc;

use checkpoint::{
    Compression, InMemoryStorage, OnRestoreError, ProcessError, RecordView, RestoreFailure,
    StateStorage, UnsealError,
};

use crate::sealing::{
    ZSTD, id, keys, not_opened, over, put, record, stored, text, texts, with_checksums,
};
use crate::support::{FAIL_SAFE, FaultyStorage, FetchFault, manual, settings};

/// C1, C2: with the checksums as they are.
#[test]
fn every_byte_and_every_truncation_of_a_sealed_record_is_noticed() {
    for compression in [Compression::None, Compression::Lz4, ZSTD] {
        let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
        let builder = over(&storage).compression(compression).encryption(keys(1));
        stored(builder, "alice", &text("alice").repeat(5));
        let sound = record(&*storage, "alice");
        let refused = |bytes: &[u8], what: &dyn Fn() -> String| {
            let view = RecordView::parse(bytes).and_then(|view| view.of(id("alice").as_ref()));
            assert!(view.is_err(), "{compression:?}: {} is not noticed", what());
        };
        let mut bytes = sound.clone();
        for at in 0..sound.len() {
            for change in 1..=255 {
                bytes[at] = sound[at] ^ change;
                refused(&bytes, &|| format!("byte {at} xor {change:#04x}"));
            }
            bytes[at] = sound[at];
            refused(&sound[..at], &|| format!("cut to {at}"));
            refused(&sound[at + 1..], &|| format!("without the first {}", at + 1));
        }
        assert!(RecordView::parse(&bytes).is_ok());
    }
}

/// T24: with every checksum made right, on the whole way to an event. What opens is the state.
#[test]
fn no_change_of_an_encrypted_record_reaches_the_program() {
    let faulty = FaultyStorage::new();
    stored(settings(&faulty).encryption(keys(1)), "alice", "the state of alice");
    let record = record(&faulty.content(), "alice");
    let strict = keys(1).refusing_unencrypted();
    let keeper = settings(&faulty).encryption(strict).build().unwrap();
    // Wherever the header can be had at all, no policy passes over it.
    let texts = texts(&keeper, manual());
    let mut sealed = 0;
    for at in 0..record.len() - 4 {
        // All values of a byte are tried on the way in `record/sealing`: here, the way matters.
        for change in [0x01, 0x80] {
            let changed = move |mut record: Vec<u8>| {
                record[at] ^= change;
                if (0..12).contains(&at) || (20..24).contains(&at) {
                    return record; // Lengths: where the checksums are is not known.
                }
                with_checksums(record)
            };
            faulty.on_fetch(1, FetchFault::Changed(Arc::new(changed)));
            match texts.read("alice", String::clone) {
                Err(ProcessError::Restore(error)) => {
                    sealed += usize::from(matches!(error.reason(), RestoreFailure::Sealed { .. }));
                }
                // The checksum of the header was made right again.
                Ok(text) => {
                    assert_eq!(text, "the state of alice", "byte {at} xor {change:#04x}");
                    let header_end = record.len() - 4 - 16 - 8 - 18 - 4;
                    assert!((header_end..header_end + 4).contains(&at), "byte {at}");
                    texts.evict("alice").unwrap();
                }
                Err(error) => panic!("byte {at} xor {change:#04x}: {error:?}"),
            }
        }
    }
    assert!(sealed > record.len(), "{sealed} reached the key");
    assert_eq!(texts.read("alice", String::clone).unwrap(), "the state of alice");
}

/// C7: the limit is the configuration's, not the record's.
#[test]
fn a_bomb_is_an_error_and_the_policy_decides() {
    for compression in [Compression::Lz4, ZSTD] {
        let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
        stored(over(&storage).compression(compression), "alice", &"0".repeat(1_000_000));
        assert!(record(&*storage, "alice").len() < 5_000);
        let limited = || manual().state_bytes_max(999_999);
        let keeper = over(&storage).build().unwrap();
        let error = not_opened(&texts(&keeper, limited()), "alice");
        assert_eq!(error, UnsealError::TooLarge { bytes: 1_000_008, bytes_max: 999_999 });
        drop(keeper);
        // It is a state that is no good, as one that cannot be decoded: nothing is missing.
        let keeper = over(&storage).build().unwrap();
        let texts = texts(&keeper, limited().on_restore_error(OnRestoreError::StartEmpty));
        texts.process("alice", |state| state.push_str("anew")).unwrap();
        keeper.flush(FAIL_SAFE).unwrap();
        assert_eq!(keeper.quarantined("texts").unwrap().len(), 1);
    }
}

/// What claims another length than it has.
#[test]
fn a_length_that_is_made_up_is_an_error() {
    for compression in [Compression::Lz4, ZSTD] {
        for claimed in [0, 1, 20_007, 20_009, 50_000_000] {
            let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
            stored(over(&storage).compression(compression), "alice", &"0".repeat(20_000));
            let mut bomb = record(&*storage, "alice");
            let raw = 20_008_u32.to_le_bytes();
            let at = bomb.windows(4).position(|bytes| bytes == raw).unwrap();
            bomb[at..at + 4].copy_from_slice(&u32::to_le_bytes(claimed));
            bomb[32] = 200; // A newer version, so that it takes the place of the other.
            put(&*storage, with_checksums(bomb));
            let keeper = over(&storage).build().unwrap();
            let error = not_opened(&texts(&keeper, manual()), "alice");
            assert_eq!(error, UnsealError::NotDecompressible, "{compression:?}, {claimed}");
        }
    }
}
