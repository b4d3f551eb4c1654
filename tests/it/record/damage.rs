//! No changed, missing or added byte goes unnoticed, and nothing is allocated on hearsay.

use checkpoint::{
    CheckpointId, RecordErrorKind, RecordHeader, RecordKind, RecordView, RecordWriter,
};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::samples;

// Offsets of format version 1, from FORMAT.md.
const AT_VERSION: usize = 4;
const AT_FLAGS: usize = 5;
const AT_KEY_BYTES: usize = 8;
const AT_PAYLOAD_BYTES: usize = 16;
const AT_SECTIONS_BYTES: usize = 20;
const FIXED_BYTES: usize = 68;

#[test]
fn every_changed_byte_is_noticed() {
    for sample in samples() {
        let sound = sample.write();
        for at in 0..sound.len() {
            for change in 1..=255 {
                let mut bytes = sound.clone();
                bytes[at] ^= change;
                let found = RecordView::parse(&bytes);
                assert!(found.is_err(), "{}: byte {at} xor {change:#04x}", sample.name);
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_header_is_noticed_without_the_payload() {
    for sample in samples() {
        let mut header = sample.write();
        header.truncate(RecordHeader::parse(&header).unwrap().header_bytes());
        assert!(RecordHeader::parse(&header).is_ok());
        for at in 0..header.len() {
            for change in 1..=255 {
                let mut bytes = header.clone();
                bytes[at] ^= change;
                let found = RecordHeader::parse(&bytes);
                assert!(found.is_err(), "{}: byte {at} xor {change:#04x}", sample.name);
            }
        }
    }
}

#[test]
fn every_truncation_is_noticed_and_named() {
    for sample in samples() {
        let sound = sample.write();
        for length in 0..sound.len() {
            let err = RecordView::parse(&sound[..length]).unwrap_err();
            let RecordErrorKind::Truncated { needed, found } = err.kind() else {
                panic!("{} cut to {length}: {err}", sample.name);
            };
            assert!(needed > length && needed <= sound.len() && found == length, "{err}");
        }
    }
}

#[test]
fn trailing_bytes_are_noticed() {
    for sample in samples() {
        for trailing in [&b"\0"[..], b"x", &sample.write()] {
            let mut bytes = sample.write();
            let end = bytes.len();
            bytes.extend_from_slice(trailing);
            let err = RecordView::parse(&bytes).unwrap_err();
            assert_eq!(err.kind(), RecordErrorKind::TrailingBytes { found: trailing.len() });
            assert_eq!(err.offset(), end);
            let (_, rest) = RecordView::parse_prefix(&bytes).unwrap();
            assert_eq!(rest, trailing);
        }
    }
}

#[test]
fn damaged_sectors_are_noticed() {
    let mut sample = samples().swap_remove(0);
    sample.payload = vec![7; 4096];
    let sound = sample.write();
    for start in (0..sound.len()).step_by(512) {
        for fill in [0, 0xFF, b'x'] {
            let mut bytes = sound.clone();
            let end = (start + 512).min(bytes.len());
            bytes[start..end].fill(fill);
            assert!(RecordView::parse(&bytes).is_err(), "sector at {start} filled with {fill}");
        }
    }
}

#[test]
fn the_record_of_another_id_is_noticed() {
    let sample = samples().swap_remove(0);
    let bytes = sample.write();
    for (prototype, key) in [("word-count", "alicf"), ("word-coun", "talice"), ("word-count", "")] {
        let other = CheckpointId::new(prototype, key).unwrap();
        let err = RecordView::parse(&bytes).unwrap().of(other.as_ref()).unwrap_err();
        assert_eq!(err.kind(), RecordErrorKind::WrongId);
    }
    assert!(RecordView::parse(&bytes).unwrap().of(sample.id.as_ref()).is_ok());
}

/// Changes a sound record and makes its checksums right again, as a newer writer would have.
fn resealed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = samples().swap_remove(0).write();
    change(&mut bytes);
    reseal(&mut bytes);
    bytes
}

fn reseal(bytes: &mut [u8]) {
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte))
    };
    let crc_at = FIXED_BYTES + number(6, 2) + number(8, 4) + number(20, 4);
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}

/// Puts a section into a record that has none.
fn with_section(section: u16, declared: u32, body: &[u8]) -> Vec<u8> {
    resealed(|bytes| {
        let id_bytes = "word-count".len() + "alice".len();
        let mut inserted = section.to_le_bytes().to_vec();
        inserted.extend_from_slice(&declared.to_le_bytes());
        inserted.extend_from_slice(body);
        let length = u32::try_from(inserted.len()).unwrap();
        bytes[AT_SECTIONS_BYTES..AT_SECTIONS_BYTES + 4].copy_from_slice(&length.to_le_bytes());
        let at = FIXED_BYTES + id_bytes;
        bytes.splice(at..at, inserted);
    })
}

#[test]
fn an_unknown_optional_section_is_skipped() {
    let bytes = with_section(0x8001, 5, b"later");
    let view = RecordView::parse(&bytes).unwrap();
    assert_eq!(view.payload(), b"state of alice");
    assert!(view.header().positions.is_empty());
}

#[test]
fn an_unknown_required_section_is_refused_by_its_type() {
    let err = RecordView::parse(&with_section(0x7FFF, 5, b"later")).unwrap_err();
    assert_eq!(err.kind(), RecordErrorKind::UnsupportedFeature { found: 0x7FFF });
    assert!(err.to_string().contains("use a newer library"), "{err}");
    let sections_at = FIXED_BYTES + "word-countalice".len();
    assert_eq!(err.offset(), sections_at);
    // The same behind one that is skipped.
    let err = RecordView::parse(&with_section(0x8001, 5, b"later\xFF\x7F\0\0\0\0")).unwrap_err();
    assert_eq!(err.kind(), RecordErrorKind::UnsupportedFeature { found: 0x7FFF });
    assert_eq!(err.offset(), sections_at + 6 + 5);
}

#[test]
fn a_section_that_does_not_fit_is_refused() {
    for (section, declared, body) in [
        (0x8001, 6, &b"later"[..]),
        (0x8001, u32::MAX, b""),
        (1, 15, &[0; 15]),
        (0x8001, 4, b"later"),
        (2, 1, b"x"),
        (3, 1, b"x"),
    ] {
        let err = RecordView::parse(&with_section(section, declared, body)).unwrap_err();
        assert_eq!(err.kind(), RecordErrorKind::Header, "{section:#06x} of {declared}");
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    let err = RecordView::parse(&resealed(|bytes| bytes[AT_FLAGS] |= 0x40)).unwrap_err();
    assert_eq!(err.kind(), RecordErrorKind::UnsupportedFeature { found: 0x40 });
}

#[test]
fn a_tombstone_with_a_payload_is_refused() {
    let err = RecordView::parse(&resealed(|bytes| bytes[AT_FLAGS] |= 1)).unwrap_err();
    assert_eq!(err.kind(), RecordErrorKind::Header);
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let err = RecordView::parse(&resealed(|bytes| bytes[AT_VERSION] = 2)).unwrap_err();
    assert_eq!(err.kind(), RecordErrorKind::UnsupportedVersion { found: 2, max: 1 });
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_done_with_them() {
    // The checksums are right, so that only the bounds stand between the length and its use. The
    // reader only borrows: there is nothing that it could allocate for these.
    for at in [AT_KEY_BYTES, AT_PAYLOAD_BYTES, AT_SECTIONS_BYTES] {
        for length in [u32::MAX, u32::MAX / 2, 1 << 24] {
            let mut bytes = samples().swap_remove(0).write();
            bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            if at == AT_PAYLOAD_BYTES {
                reseal(&mut bytes);
                let header = RecordHeader::parse(&bytes).unwrap();
                assert!(header.record_bytes() > length as usize);
            }
            assert!(RecordView::parse(&bytes).is_err(), "{length} at {at}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>(), at in any::<usize>()) {
        prop_assert!(RecordView::parse(&bytes).is_err());
        // The same behind a beginning that looks right.
        let mut record = samples().swap_remove(0).write();
        record.truncate(at % record.len());
        record.extend_from_slice(&bytes);
        prop_assert!(RecordView::parse(&record).is_err());
    }

    #[test]
    fn what_is_written_is_read(
        key in any::<Vec<u8>>(),
        payload in any::<Vec<u8>>(),
        numbers in any::<(u32, u64, u64, u64, u64)>(),
        positions in any::<Vec<(u64, u64)>>(),
        before in any::<Vec<u8>>(),
    ) {
        let mut sample = samples().swap_remove(0);
        sample.id = CheckpointId::new("p", key).unwrap();
        sample.payload = payload;
        sample.positions = positions;
        sample.partition = numbers.0;
        sample.version = checkpoint::StateVersion::new(numbers.1, numbers.2);
        (sample.event_count, sample.fingerprint) = (numbers.3, numbers.4);
        let bytes = sample.write();
        let view = RecordView::parse(&bytes).unwrap().of(sample.id.as_ref()).unwrap();
        prop_assert_eq!(view.payload(), &sample.payload[..]);
        prop_assert_eq!(view.header().version, sample.version);
        prop_assert_eq!(view.header().partition, sample.partition);
        prop_assert_eq!(&view.header().positions, &sample.positions());
        prop_assert_eq!(view.header().record_bytes(), bytes.len());

        // The same record behind others in one buffer.
        let mut buffer = before.clone();
        let positions = sample.positions();
        let meta = checkpoint::RecordMeta {
            kind: RecordKind::State,
            partition: sample.partition,
            version: sample.version,
            event_count: sample.event_count,
            captured_at: sample.captured_at,
            idle: sample.idle,
            fingerprint: sample.fingerprint,
            positions: &positions,
        };
        let writer = RecordWriter::begin(&mut buffer, sample.id.as_ref(), &meta);
        prop_assert_eq!(writer.start(), before.len());
        buffer.extend_from_slice(&sample.payload);
        writer.finish(&mut buffer);
        prop_assert_eq!(&buffer[before.len()..], &bytes[..]);
    }
}
