//! Every mutation of a record of 4 KiB (T8): none goes unnoticed, none panics.
//!
//! The ids are those of the faults that a test stands for. `file_system::damage` does the same on
//! the way through a store and a keeper, where "absent" is possible too.

use checkpoint::{CheckpointId, RandomSource, RecordErrorKind, RecordView, SeededRandom};
use checkpoint_tests::Quota;

use super::{Sample, samples};

const SECTOR_BYTES: usize = 512;

/// A record of about 4 KiB, none of whose sectors are alike.
fn sample(key: &str, seed: u64) -> Sample {
    let random = SeededRandom::new(seed);
    let payload = (0..3_900).map(|_| random.next_u64().to_le_bytes()[0]).collect();
    let id = CheckpointId::new("word-count", key).unwrap();
    Sample { id, payload, positions: vec![(1, 10), (2, 20)], ..samples().swap_remove(0) }
}

fn alice() -> Vec<u8> {
    sample("alice", 1).write()
}

/// Checks that the bytes are refused; says where, inside of them.
#[track_caller]
fn refused(bytes: &[u8], mutation: impl Fn() -> String) -> RecordErrorKind {
    match RecordView::parse(bytes) {
        Ok(_) => panic!("unnoticed: {}", mutation()),
        Err(err) => {
            assert!(err.offset() <= bytes.len(), "{}: {err} is outside", mutation());
            err.kind()
        }
    }
}

/// C1, J1.
#[test]
fn every_byte_changed_to_each_other_value_is_noticed() {
    let sound = alice();
    assert!(sound.len() >= 4_000, "{}", sound.len());
    let mut bytes = sound.clone();
    let mut checked = 0;
    for at in 0..sound.len() {
        for change in 1..=255 {
            bytes[at] = sound[at] ^ change;
            let kind = refused(&bytes, || format!("byte {at} xor {change:#04x}"));
            if at == 4 {
                let expected = RecordErrorKind::UnsupportedVersion { found: bytes[at], max: 1 };
                assert_eq!(kind, expected);
            }
            checked += 1;
        }
        bytes[at] = sound[at];
    }
    assert_eq!(checked, sound.len() * 255);
    assert!(RecordView::parse(&bytes).is_ok());
}

/// C2.
#[test]
fn every_truncation_is_noticed_from_both_ends() {
    let sound = alice();
    for length in 0..sound.len() {
        let kind = refused(&sound[..length], || format!("cut to {length}"));
        assert!(matches!(kind, RecordErrorKind::Truncated { .. }), "cut to {length}: {kind:?}");
        refused(&sound[sound.len() - length..], || format!("the last {length}"));
    }
}

/// C3: lost, torn, misdirected and exchanged sectors.
#[test]
fn every_damaged_sector_is_noticed() {
    let (sound, foreign) = (alice(), sample("bob", 2).write());
    let sectors = sound.len().div_ceil(SECTOR_BYTES);
    let place = |sector: usize, bytes: &[u8]| {
        sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(bytes.len())
    };
    for sector in 0..sectors {
        let own = place(sector, &sound);
        for fill in [0, 0xFF, sound[own.start]] {
            let mut bytes = sound.clone();
            bytes[own.clone()].fill(fill);
            refused(&bytes, || format!("sector {sector} filled with {fill}"));
        }
        let mut bytes = sound.clone();
        bytes.drain(own.clone());
        refused(&bytes, || format!("sector {sector} is missing"));
        let mut bytes = sound.clone();
        bytes.splice(own.end..own.end, sound[own.clone()].iter().copied());
        refused(&bytes, || format!("sector {sector} twice"));
        for other in 0..foreign.len() / SECTOR_BYTES {
            let mut bytes = sound.clone();
            let with = place(other, &foreign);
            bytes[own.clone()].copy_from_slice(&foreign[with][..own.len()]);
            refused(&bytes, || format!("sector {sector} is sector {other} of another record"));
            if other != sector {
                let mut bytes = sound.clone();
                let (from, own) = (place(other, &sound), own.clone());
                bytes.copy_within(from.start..from.start + own.len(), own.start);
                refused(&bytes, || format!("sector {sector} is sector {other}"));
            }
        }
    }
}

/// C5, C6: a record is all there is.
#[test]
fn whatever_follows_a_record_is_noticed() {
    let (sound, foreign) = (alice(), sample("bob", 2).write());
    for follows in [&sound, &foreign, &vec![0; 5_000], &vec![0xFF; 5_000]] {
        for length in (1..=follows.len()).step_by(7) {
            let bytes = [&sound[..], &follows[..length]].concat();
            let kind = refused(&bytes, || format!("{length} bytes behind"));
            assert_eq!(kind, RecordErrorKind::TrailingBytes { found: length });
        }
    }
}

/// C4: the record of one id where another one's should be.
#[test]
fn every_swap_of_two_of_a_hundred_records_is_noticed() {
    let samples: Vec<Sample> = (0..100).map(|n| sample(&format!("key {n}"), 1)).collect();
    let mut swaps = 0;
    for wrong in &samples {
        let bytes = wrong.write();
        let view = RecordView::parse(&bytes).unwrap();
        for right in &samples {
            let found = view.clone().of(right.id.as_ref());
            if right.id == wrong.id {
                assert!(found.is_ok());
            } else {
                assert_eq!(found.unwrap_err().kind(), RecordErrorKind::WrongId);
                swaps += 1;
            }
        }
    }
    assert_eq!(swaps, 9_900);
}

/// C1, C3: what the checksum does not rule out by its construction, in a sample.
#[test]
fn random_changes_of_many_bytes_are_noticed() {
    let sound = alice();
    let random = SeededRandom::new(7);
    let below = |limit: usize| usize::try_from(random.next_u64() % limit as u64).unwrap();
    for round in 0..Quota::HOSTILE_INPUTS.get() {
        let mut bytes = sound.clone();
        for _ in 0..2 + below(30) {
            let at = below(bytes.len());
            bytes[at] = random.next_u64().to_le_bytes()[0];
        }
        if bytes != sound {
            refused(&bytes, || format!("round {round}"));
        }
    }
}
