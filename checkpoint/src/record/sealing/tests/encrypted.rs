//! Encryption: what opens with which key, and what does not.

use std::collections::HashSet;

use super::*;
use crate::record::sealing::encryption::Encryptor;
use crate::record::sealing::sections::Encrypted;

pub(super) fn key(id: u32) -> EncryptionKey {
    EncryptionKey::new(id, [id.to_le_bytes()[0]; 32])
}

pub(super) fn keys(id: u32) -> EncryptionKeys {
    EncryptionKeys::new(key(id))
}

fn sealing(keys: EncryptionKeys) -> Sealing {
    Sealing::default().with_keys(Some(keys))
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from((byte as char).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

/// T24: the vector of draft-irtf-cfrg-xchacha-03, A.3.1.
#[test]
fn the_cipher_is_the_one_of_the_draft() {
    let bytes: Vec<u8> = (0x80..0xA0).collect();
    let key = EncryptionKey::new(1, bytes.try_into().unwrap());
    let nonce: Vec<u8> = (0x40..0x58).collect();
    let with = Encrypted { method: 1, key: 1, nonce: nonce.try_into().unwrap() };
    let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
                     tip for the future, sunscreen would be it."
        .to_vec();
    let encryptor = Encryptor::with(&key, 0, |_| false);
    let tag = encryptor.encrypt(&with, &hex("50515253c0c1c2c3c4c5c6c7"), &mut text).unwrap();
    let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
                    731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
                    2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                    21f9664c97637da9768812f615c68b13b52e";
    assert_eq!(text, hex(expected));
    assert_eq!(tag.to_vec(), hex("c0875924c1c7987947deafd8780acf49"));
}

#[test]
fn what_is_encrypted_comes_back_to_whoever_has_the_key() {
    for compression in [vec![Compression::None], compressions()].concat() {
        let sealing = Sealing::new(compression).with_keys(Some(keys(7)));
        for payload in [vec![], b"canary".to_vec(), compressible(), incompressible(1_000)] {
            let sealed = seal(&sealing, &payload);
            assert_eq!(open(&sealing, &sealed).unwrap(), payload);
            let view = RecordView::parse(&sealed).unwrap();
            assert_eq!(view.header().encryption_key_id(), Some(7));
            // K13: by any that is among the keys; the primary one is what it is for.
            let rotated = sealing_with(keys(8).with_older(key(6)).with_older(key(7)));
            assert_eq!(open(&rotated, &sealed).unwrap(), payload);
            assert!(!rotated.has_sealed(view.header()));
            assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
        }
    }
}

/// K13: wrong and missing keys are told from each other and from damage.
#[test]
fn a_key_that_is_missing_and_one_that_is_another_are_told() {
    let sealed = seal(&sealing(keys(7)), b"state");
    let missing = UnsealError::MissingKey { key: 7 };
    assert_eq!(open(&Sealing::default(), &sealed).unwrap_err(), missing);
    let wrong = sealing_with(keys(8).with_older(EncryptionKey::new(9, [7; 32])));
    assert_eq!(open(&wrong, &sealed).unwrap_err(), missing, "by its number, not by its bytes");
    let wrong = sealing_with(EncryptionKeys::new(EncryptionKey::new(7, [8; 32])));
    assert_eq!(open(&wrong, &sealed).unwrap_err(), UnsealError::WrongKey { key: 7 });
    let plain = seal(&Sealing::default(), b"state");
    assert_eq!(open(&sealing(keys(7)), &plain).unwrap(), b"state");
    let strict = sealing(keys(7).refusing_unencrypted());
    assert_eq!(open(&strict, &plain).unwrap_err(), UnsealError::NotEncrypted);
}

/// T24, C1: every bit of a record that is not a checksum, by whoever makes those right.
#[test]
fn no_byte_of_header_or_payload_can_be_changed_unnoticed() {
    // Else the section could be made one that is no encryption's.
    let sealing = sealing(keys(7).refusing_unencrypted());
    let sealed = seal(&sealing, b"the state of alice");
    let header_bytes = RecordView::parse(&sealed).unwrap().header().header_bytes();
    let mut checked = 0;
    for at in (0..header_bytes - 4).chain(header_bytes..sealed.len() - 4) {
        for change in 1..=255 {
            let mut changed = sealed.clone();
            changed[at] ^= change;
            let changed = with_checksums(changed);
            let opened = RecordView::parse(&changed)
                .and_then(|view| view.of(ID))
                .map(|view| sealing.open(&view, BYTES_MAX).is_ok());
            assert!(!opened.unwrap_or(false), "byte {at} xor {change:#04x}");
            checked += 1;
        }
    }
    assert_eq!(checked, (sealed.len() - 8) * 255);
    assert!(open(&sealing, &sealed).is_ok());
    // And none can be cut off.
    for length in header_bytes..sealed.len() {
        assert!(RecordView::parse(&sealed[..length]).is_err());
        let mut cut = sealed[..length].to_vec();
        let payload = u32::try_from(length - header_bytes).unwrap();
        cut[16..20].copy_from_slice(&payload.to_le_bytes());
        cut.extend_from_slice(&[0; 4]);
        let error = open(&sealing, &with_checksums(cut));
        let is_whole = length == sealed.len() - 4;
        assert_eq!(error.is_ok(), is_whole, "cut to {length}");
    }
}

/// T24: the payload of each of some records behind the header of each other.
#[test]
fn a_payload_opens_behind_its_own_header_only() {
    let sealing = sealing(keys(7));
    type Change = fn(&mut RecordMeta<'_>);
    let changes: [Change; 7] = [
        |_| {},
        |meta| meta.partition = 4,
        |meta| meta.version = StateVersion::new(2, 18),
        |meta| meta.version = StateVersion::new(3, 17),
        |meta| meta.event_count = 101,
        |meta| meta.fingerprint = 1,
        |meta| meta.captured_at = UNIX_EPOCH,
    ];
    let ids = [
        ID,
        CheckpointIdRef { key: b"bob", ..ID },
        CheckpointIdRef { prototype: "wordsalice", key: b"" },
    ];
    let mut records = Vec::new();
    for id in ids {
        for change in changes {
            let mut meta = RecordMeta {
                kind: RecordKind::State,
                partition: 3,
                version: StateVersion::new(2, 17),
                event_count: 100,
                captured_at: UNIX_EPOCH + Duration::from_secs(1),
                idle: Duration::ZERO,
                fingerprint: 2,
                positions: &InputPositions::none(),
            };
            change(&mut meta);
            let (mut plain, mut sealed) = (Vec::new(), Vec::new());
            let writer = RecordWriter::begin(&mut plain, id, &meta);
            plain.extend_from_slice(b"state");
            writer.close(&mut plain);
            sealing.sealer(1).seal(&plain, writer, &mut sealed).map(drop).unwrap();
            let header_bytes = RecordView::parse(&sealed).unwrap().header().header_bytes();
            records.push((sealed, header_bytes));
        }
    }
    for (a, (header, header_bytes)) in records.iter().enumerate() {
        for (b, (payload, payload_at)) in records.iter().enumerate() {
            // With the other's nonce, as whoever moves a payload would.
            let mut moved = [&header[..*header_bytes], &payload[*payload_at..]].concat();
            let nonce = *payload_at - 28..*payload_at - 4;
            moved[header_bytes - 28..header_bytes - 4].copy_from_slice(&payload[nonce]);
            let moved = with_checksums(moved);
            let view = RecordView::parse(&moved).unwrap();
            assert_eq!(sealing.open(&view, BYTES_MAX).is_ok(), a == b, "{a} and {b}");
        }
    }
}

/// K12, T24.
#[test]
fn no_nonce_comes_twice_whatever_is_started_anew_or_copied() {
    let key = key(7);
    let mut nonces = HashSet::new();
    let mut sealed = 0;
    for _ in 0..100 {
        // Each is as after a restart, or in a clone of the machine: nothing is in memory that
        // the next nonce depends on.
        let mut encryptor = Encryptor::new(&sealing(EncryptionKeys::new(key.clone())), 900);
        for _ in 0..1_000 {
            nonces.insert(encryptor.as_mut().unwrap().section().unwrap().nonce);
            sealed += 1;
        }
    }
    assert_eq!(nonces.len(), sealed);
    let sealing = sealing(EncryptionKeys::new(key));
    assert_ne!(seal(&sealing, b"state"), seal(&sealing, b"state"));
}

#[test]
fn without_random_numbers_nothing_is_encrypted_and_nothing_is_left_in_the_clear() {
    let (plain, writer) = plain(RecordKind::State, b"canary");
    let mut encryptor = Encryptor::with(&key(7), 10, |_| false);
    assert_eq!(encryptor.section(), Err(NoRandomness));
    let mut sealed = Vec::new();
    Sealer::give_up(&plain, writer, &mut sealed);
    assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
    assert!(!crate::record::is_intact(&sealed) && RecordView::parse(&sealed).is_err());
    assert!(sealed.windows(5).any(|bytes| bytes == b"alice"), "whose it was is still told");
}

/// K5.
#[test]
fn keys_are_not_shown() {
    let key = EncryptionKey::new(7, *b"a key of thirty-two bytes, shown");
    let keys = EncryptionKeys::new(key.clone()).with_older(key.clone());
    let sealing = sealing(keys.clone());
    let shown = format!("{key:?} {keys:?} {keys:#?} {sealing:?}");
    assert!(shown.contains("EncryptionKey(7)"), "{shown}");
    assert!(!shown.contains("thirty") && !shown.contains("97, 32"), "{shown}");
}
