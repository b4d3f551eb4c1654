//! What is sealed comes back, and only to whoever may have it. The ids are those of the faults that
//! a test stands for.

#[cfg(feature = "zstd")]
mod dictionaries;
#[cfg(feature = "encryption")]
mod encrypted;

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::checkpoint_id::CheckpointIdRef;
use crate::record::{
    InputPosition, InputPositions, RecordError, RecordErrorKind, RecordKind, RecordMeta,
    RecordView, RecordWriter, SourceId, StateVersion,
};

const BYTES_MAX: u64 = 1 << 20;
const ID: CheckpointIdRef<'_> = CheckpointIdRef { prototype: "words", key: b"alice" };

/// A record of `ID` that is not sealed yet, and what has begun it.
fn plain(kind: RecordKind, payload: &[u8]) -> (Vec<u8>, RecordWriter) {
    let position = InputPosition { source: SourceId(1), position: 10 };
    let meta = RecordMeta {
        kind,
        partition: 3,
        version: StateVersion::new(2, 17),
        event_count: 100,
        captured_at: UNIX_EPOCH + Duration::from_secs(1),
        idle: Duration::from_millis(250),
        fingerprint: 0x0123_4567_89AB_CDEF,
        positions: &InputPositions::from_iter([position]),
    };
    let mut bytes = b"other records".to_vec();
    let writer = RecordWriter::begin(&mut bytes, ID, &meta);
    bytes.extend_from_slice(payload);
    writer.close(&mut bytes);
    (bytes, writer)
}

fn seal(sealing: &Sealing, payload: &[u8]) -> Vec<u8> {
    let (plain, writer) = plain(RecordKind::State, payload);
    let mut sealed = Vec::new();
    sealing.sealer(1).seal(&plain, writer, &mut sealed).map(drop).unwrap();
    sealed
}

fn open(sealing: &Sealing, record: &[u8]) -> Result<Vec<u8>, UnsealError> {
    let view = RecordView::parse(record).unwrap().of(ID).unwrap();
    sealing.open(&view, BYTES_MAX).map(std::borrow::Cow::into_owned)
}

/// Makes the checksums of a changed record right again, where its lengths still say where they are.
fn with_checksums(mut record: Vec<u8>) -> Vec<u8> {
    let number = |at: usize, bytes: usize| {
        record[at..at + bytes].iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte))
    };
    let crc_at = 68_usize + number(6, 2) + number(8, 4) + number(20, 4);
    let end = record.len() - 4;
    if crc_at + 4 <= end {
        let crc = crc32c::crc32c(&record[..crc_at]);
        record[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&record[..end]);
    record[end..].copy_from_slice(&crc.to_le_bytes());
    record
}

fn compressible() -> Vec<u8> {
    b"the same again and ".repeat(100)
}

fn incompressible(bytes: usize) -> Vec<u8> {
    let random = crate::random::SeededRandom::new(1);
    let byte = |_| crate::random::RandomSource::next_u64(&random).to_le_bytes()[0];
    (0..bytes).map(byte).collect()
}

fn compressions() -> Vec<Compression> {
    vec![
        #[cfg(feature = "lz4")]
        Compression::Lz4,
        #[cfg(feature = "zstd")]
        Compression::Zstd { level: 3 },
        #[cfg(feature = "zstd")]
        Compression::Zstd { level: -5 },
    ]
}

#[test]
fn what_is_compressed_comes_back_and_takes_less() {
    for compression in compressions() {
        let sealing = Sealing::new(compression);
        let (payload, raw) = (compressible(), seal(&Sealing::default(), &compressible()));
        let sealed = seal(&sealing, &payload);
        assert!(sealed.len() < raw.len() / 4, "{compression:?}: {} bytes", sealed.len());
        assert_eq!(open(&sealing, &sealed).unwrap(), payload, "{compression:?}");
        let view = RecordView::parse(&sealed).unwrap();
        assert!(view.header().is_compressed() && sealing.has_sealed(view.header()));
        assert!(!Sealing::default().has_sealed(view.header()));
        // What is set now does not matter to what was stored before.
        assert_eq!(open(&Sealing::default(), &sealed).unwrap(), payload, "{compression:?}");
        assert_eq!(view.header().positions.of(SourceId(1)), Some(10));
    }
}

#[test]
fn a_state_that_compression_does_not_make_smaller_is_stored_as_it_is() {
    for compression in compressions() {
        for bytes in [0, 1, 10, 14, 15, 100, 10_000] {
            let payload = incompressible(bytes);
            let sealed = seal(&Sealing::new(compression), &payload);
            assert_eq!(sealed, seal(&Sealing::default(), &payload), "{compression:?}, {bytes}");
        }
    }
}

#[test]
fn a_removal_is_not_sealed() {
    for compression in compressions() {
        let sealing = Sealing::new(compression);
        #[cfg(feature = "encryption")]
        let sealing = sealing.with_keys(Some(encrypted::keys(1)));
        let (plain, writer) = plain(RecordKind::Tombstone, b"");
        let mut sealed = b"before".to_vec();
        let writer = sealing.sealer(1).seal(&plain, writer, &mut sealed).unwrap();
        assert_eq!((writer.start(), sealed.len()), (6, 6 + plain.len() - 13));
        let view = RecordView::parse(&sealed[6..]).unwrap();
        assert_eq!(view.header().kind, RecordKind::Tombstone);
        assert!(sealing.has_sealed(view.header()));
        assert_eq!(&*sealing.open(&view, 0).unwrap(), b"");
    }
}

/// C7: a bomb, at the decoder itself.
#[test]
fn what_says_that_it_is_larger_than_a_state_may_be_is_refused() {
    for compression in compressions() {
        let sealing = Sealing::new(compression);
        let sealed = seal(&sealing, &vec![0; 100_000]);
        assert!(sealed.len() < 1_000, "{compression:?}");
        let view = RecordView::parse(&sealed).unwrap();
        let error = sealing.open(&view, 99_999).unwrap_err();
        assert_eq!(error, UnsealError::TooLarge { bytes: 100_000, bytes_max: 99_999 });
        assert!(sealing.open(&view, 100_000).is_ok());
        // A length that is not the right one, be it too low or too high.
        let at = sealed.windows(4).position(|bytes| bytes == 100_000_u32.to_le_bytes()).unwrap();
        for length in [0, 1, 99_999, 100_001, 1 << 20] {
            let mut bomb = sealed.clone();
            bomb[at..at + 4].copy_from_slice(&u32::to_le_bytes(length));
            let error = open(&sealing, &with_checksums(bomb)).unwrap_err();
            assert_eq!(error, UnsealError::NotDecompressible, "{compression:?}, {length}");
        }
    }
}

/// C1 for whoever makes the checksums right: nothing panics, nothing is allocated beyond the limit.
#[test]
fn changes_behind_right_checksums_never_panic() {
    for compression in compressions() {
        let sealing = Sealing::new(compression);
        let sealed = seal(&sealing, &compressible());
        for at in 0..sealed.len() - 4 {
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = sealed.clone();
                changed[at] ^= change;
                if let Ok(view) = RecordView::parse(&with_checksums(changed)) {
                    let opened = sealing.open(&view, BYTES_MAX);
                    assert!(opened.is_ok_and(|bytes| bytes.len() as u64 <= BYTES_MAX) || at > 0);
                }
            }
        }
    }
}

/// A reader must know what it cannot undo.
#[test]
fn methods_that_are_not_known_or_not_built_in_are_named() {
    for (section, body) in [(2_u16, vec![77; 8]), (2, vec![77; 16]), (3, vec![77; 32])] {
        let (mut bytes, _) = plain(RecordKind::State, b"");
        bytes.drain(..13);
        bytes.truncate(bytes.len() - 8);
        bytes.extend_from_slice(&section.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&body);
        let sections = 22 + 6 + u32::try_from(body.len()).unwrap();
        bytes[20..24].copy_from_slice(&sections.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let bytes = with_checksums(bytes);
        let error = RecordView::parse(&bytes).map(|_| open(&Sealing::default(), &bytes));
        let unknown = section == 2 || cfg!(feature = "encryption");
        match error.unwrap().unwrap_err() {
            UnsealError::TooLarge { bytes, .. } => assert_eq!((section, bytes), (2, 0x4D4D_4D4D)),
            UnsealError::UnknownMethod { method: 77 } => assert!(unknown),
            UnsealError::NotBuiltIn { feature: "encryption" } => assert!(!unknown),
            other => panic!("{other:?}"),
        }
    }
    #[cfg(feature = "lz4")]
    {
        // Its number, made one that nobody has given out.
        let mut sealed = seal(&Sealing::new(Compression::Lz4), &compressible());
        let at = sealed.windows(6).position(|bytes| bytes == [2, 0, 8, 0, 0, 0]).unwrap() + 6;
        sealed[at] = 9;
        let error = open(&Sealing::default(), &with_checksums(sealed)).unwrap_err();
        assert_eq!(error, UnsealError::UnknownMethod { method: 9 });
    }
}

#[test]
fn sections_that_contradict_themselves_are_refused() {
    let section = |section: u16, length: u32| {
        [&section.to_le_bytes()[..], &length.to_le_bytes(), &vec![1; length as usize]].concat()
    };
    let two = |number, length| [section(number, length), section(number, length)].concat();
    for sections in [section(2, 9), section(2, 17), section(3, 31), two(2, 16), two(3, 32)] {
        let (mut bytes, _) = plain(RecordKind::State, b"");
        bytes.drain(..13);
        bytes.truncate(bytes.len() - 8);
        bytes.extend_from_slice(&sections);
        let length = u32::try_from(22 + sections.len()).unwrap();
        bytes[20..24].copy_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let bytes = with_checksums(bytes);
        let kind = RecordView::parse(&bytes).map_err(|error| error.kind());
        assert_eq!(kind.unwrap_err(), RecordErrorKind::Header, "{sections:?}");
    }
}

#[cfg(feature = "encryption")]
fn sealing_with(keys: EncryptionKeys) -> Sealing {
    Sealing::default().with_keys(Some(keys))
}

/// What a library of before would say of a sealed record: the test of the rule that it relies on.
#[test]
fn a_required_section_that_is_not_known_is_refused_by_its_number() {
    let (mut bytes, _) = plain(RecordKind::State, b"");
    bytes.drain(..13);
    // The positions, under a number that nobody has given out.
    bytes[68 + 10] = 4;
    let error: RecordError = RecordView::parse(&with_checksums(bytes)).unwrap_err();
    assert_eq!(error.kind(), RecordErrorKind::UnsupportedFeature { found: 4 });
    assert!(error.to_string().contains("use a newer library"), "{error}");
}
