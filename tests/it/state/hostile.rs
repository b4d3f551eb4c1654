//! Bytes that may be anything: an error or a value, never a panic, and never half a state.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use checkpoint::{
    Checkpointable, DecodeErrorKind, StateLimits, decode_state, encode_state, restore_state,
};
use proptest::prelude::*;

const LIMITS: StateLimits = StateLimits::DEFAULT;

#[derive(Checkpointable, Debug, PartialEq, Clone)]
struct Session {
    id: u64,
    name: String,
    orders: Vec<Order>,
    by_name: HashMap<String, u8>,
    last: Option<Box<Session>>,
    #[transient(default)]
    cache: u64,
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
enum Order {
    Market,
    Limit { price: u64, tags: BTreeMap<char, bool> },
}

fn session(seed: u64) -> Session {
    let limit = Order::Limit { price: seed, tags: BTreeMap::from([('a', true), ('é', false)]) };
    Session {
        id: seed,
        name: format!("name {seed}"),
        orders: vec![Order::Market, limit],
        by_name: HashMap::from([("one".to_owned(), 1)]),
        last: None,
        cache: seed,
    }
}

/// Restores `bytes`: afterwards the state is as it was, or is what the bytes say.
fn check(bytes: &[u8]) {
    let before = session(9);
    let mut state = before.clone();
    match restore_state(&mut state, bytes, &LIMITS) {
        Err(err) => {
            assert_eq!(state, before, "half restored after {err}");
            assert!(err.offset() <= bytes.len(), "{err}");
        }
        Ok(()) => {
            assert_eq!(state.cache, before.cache);
            // What it says is all that the bytes say. Maps may have another order.
            let again = encode_state(&state, &LIMITS).unwrap();
            assert_eq!(again.len(), bytes.len());
        }
    }
}

#[test]
fn a_truncated_state_changes_nothing() {
    let bytes = encode_state(&session(1), &LIMITS).unwrap();
    for length in 0..bytes.len() {
        let mut state = session(9);
        restore_state(&mut state, &bytes[..length], &LIMITS).unwrap_err();
        assert_eq!(state, session(9));
    }
}

#[test]
fn bytes_behind_the_state_are_refused() {
    let mut bytes = encode_state(&session(1), &LIMITS).unwrap();
    bytes.push(0);
    let mut state = session(9);
    let err = restore_state(&mut state, &bytes, &LIMITS).unwrap_err();
    assert_eq!((err.kind(), err.offset()), (DecodeErrorKind::TrailingBytes, bytes.len() - 1));
    assert_eq!(state, session(9));
}

#[test]
fn a_changed_byte_changes_all_or_nothing() {
    let bytes = encode_state(&session(1), &LIMITS).unwrap();
    for place in 0..bytes.len() {
        for change in 1..=255 {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            check(&changed);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_or_a_value(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}

#[track_caller]
fn check_refused<T: Checkpointable>(bytes: &[u8], kind: DecodeErrorKind) {
    assert_eq!(decode_state::<T>(bytes, &LIMITS).map(drop).unwrap_err().kind(), kind);
}

#[test]
fn lengths_are_not_believed() {
    for claimed in [3, 1 << 20, 1 << 40, 1 << 60, u64::MAX] {
        let mut bytes = claimed.to_le_bytes().to_vec();
        bytes.extend([0, 0]);
        check_refused::<Vec<u8>>(&bytes, DecodeErrorKind::InvalidLength);
        check_refused::<Vec<u64>>(&bytes, DecodeErrorKind::InvalidLength);
        check_refused::<Vec<String>>(&bytes, DecodeErrorKind::InvalidLength);
        check_refused::<String>(&bytes, DecodeErrorKind::InvalidLength);
        check_refused::<HashMap<u8, u8>>(&bytes, DecodeErrorKind::InvalidLength);
        check_refused::<BTreeSet<u8>>(&bytes, DecodeErrorKind::InvalidLength);
    }
}

#[test]
fn large_elements_of_few_bytes_stay_within_the_memory_allowed() {
    // One byte each, and 8 KiB of memory.
    let mut bytes = 1_000_000_u64.to_le_bytes().to_vec();
    bytes.resize(1_000_008, 0);
    check_refused::<Vec<Option<[u64; 1024]>>>(&bytes, DecodeErrorKind::TooMuchMemory);
}

#[test]
fn invalid_values_are_refused() {
    check_refused::<bool>(&[2], DecodeErrorKind::InvalidValue);
    check_refused::<Option<u8>>(&[2, 0], DecodeErrorKind::InvalidValue);
    check_refused::<std::num::NonZeroU8>(&[0], DecodeErrorKind::InvalidValue);
    check_refused::<std::time::Duration>(&[255; 12], DecodeErrorKind::InvalidValue);
    check_refused::<Order>(&[2, 0, 0, 0], DecodeErrorKind::UnknownVariant);
    check_refused::<Result<u8, u8>>(&[2, 0, 0, 0, 0], DecodeErrorKind::UnknownVariant);
    for bytes in [[0x80, 0, 0, 0], [0xff, 0, 0, 0], [0xed, 0xa0, 0x80, 0], [0xf4, 0x90, 0x80, 0x80]]
    {
        check_refused::<char>(&bytes, DecodeErrorKind::InvalidValue);
    }
}

#[test]
fn a_key_twice_does_not_make_an_entry_disappear() {
    let mut bytes = 2_u64.to_le_bytes().to_vec();
    bytes.extend([7, 7]);
    check_refused::<HashSet<u8>>(&bytes, DecodeErrorKind::DuplicateKey);
    check_refused::<BTreeSet<u8>>(&bytes, DecodeErrorKind::DuplicateKey);
    check_refused::<indexmap::IndexSet<u8>>(&bytes, DecodeErrorKind::DuplicateKey);
    let mut bytes = 2_u64.to_le_bytes().to_vec();
    bytes.extend([7, 1, 7, 2]);
    check_refused::<HashMap<u8, u8>>(&bytes, DecodeErrorKind::DuplicateKey);
    check_refused::<BTreeMap<u8, u8>>(&bytes, DecodeErrorKind::DuplicateKey);
    check_refused::<indexmap::IndexMap<u8, u8>>(&bytes, DecodeErrorKind::DuplicateKey);
}

#[test]
fn an_error_says_where_it_is_and_what_was_expected() {
    let mut bytes = encode_state(&session(1), &LIMITS).unwrap();
    // The tags: behind id, name, two variants' numbers, price and the number of tags.
    let tag = 8 + (8 + 6) + 8 + 4 + 4 + 8 + 8;
    bytes[tag + 1] = 7;
    let err = decode_state::<Session>(&bytes, &LIMITS).map(drop).unwrap_err();
    assert_eq!(err.field(), "orders[..].Limit.tags[..]");
    assert_eq!(err.offset(), tag + 1);
    assert_eq!((err.expected(), err.found()), ("0 or 1 for a bool", "7"));
    let text = "field `orders[..].Limit.tags[..]`: expected 0 or 1 for a bool at byte 55, found 7";
    assert_eq!(err.to_string(), text.replace("55", &(tag + 1).to_string()));
}

#[derive(Checkpointable)]
struct Node {
    next: Option<Box<Node>>,
}

#[test]
fn a_deep_path_is_cut() {
    let err = decode_state::<Node>(&[1; 10_000], &LIMITS).map(drop).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::TooDeep);
    assert!(err.field().starts_with("….next.next"));
    assert!(err.to_string().len() < 400, "{err}");
}
