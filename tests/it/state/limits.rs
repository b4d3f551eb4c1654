//! Every limit holds on both ways with the same number: one less and it is refused.

use std::collections::{BTreeMap, HashMap, LinkedList};

use checkpoint::{
    Checkpointable, DecodeErrorKind, EncodeErrorKind, StateLimits, decode_state, encode_state,
};

const LIMITS: StateLimits = StateLimits::DEFAULT;

#[test]
fn the_limit_of_bytes_is_exact() {
    let state = vec![1_u8; 92];
    let bytes = encode_state(&state, &LIMITS).unwrap();
    assert_eq!(bytes.len(), 100);
    for limit in [100, 101] {
        let limits = LIMITS.with_state_bytes_max(limit);
        assert_eq!(encode_state(&state, &limits).unwrap(), bytes);
        assert_eq!(decode_state::<Vec<u8>>(&bytes, &limits).unwrap(), state);
    }
    let limits = LIMITS.with_state_bytes_max(99);
    let err = encode_state(&state, &limits).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::TooLarge { limit: 99 });
    let err = decode_state::<Vec<u8>>(&bytes, &limits).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::TooLarge);
}

/// The least memory limit under which the state is encoded, which must be that for decoding.
#[track_caller]
fn memory_needed<T: Checkpointable>(state: &T) -> usize {
    let bytes = encode_state(state, &LIMITS).unwrap();
    let (mut low, mut high) = (0, LIMITS.memory_bytes_max());
    while low < high {
        let middle = low + (high - low) / 2;
        let limits = LIMITS.with_memory_bytes_max(middle);
        let encoded = encode_state(state, &limits);
        let decoded = decode_state::<T>(&bytes, &limits);
        assert_eq!(encoded.is_ok(), decoded.is_ok(), "with {middle} bytes of memory");
        if encoded.is_ok() {
            high = middle;
        } else {
            low = middle + 1;
        }
        if let (Err(encoded), Err(decoded)) = (encoded, decoded.map(drop)) {
            assert!(matches!(encoded.kind(), EncodeErrorKind::TooMuchMemory { .. }));
            assert_eq!(decoded.kind(), DecodeErrorKind::TooMuchMemory);
        }
    }
    low
}

#[derive(Checkpointable)]
struct Serde {
    #[checkpoint(serde, version = 1)]
    list: Vec<u8>,
}

#[test]
fn the_limit_of_memory_is_the_same_on_both_ways() {
    assert_eq!(memory_needed(&1_u64), 0);
    assert_eq!(memory_needed(&vec![1_u64, 2]), 16);
    assert_eq!(memory_needed(&"abc".to_owned()), 3);
    assert_eq!(memory_needed(&Box::new([0_u64; 4])), 32);
    assert_eq!(memory_needed(&vec![String::from("abc")]), size_of::<String>() + 3);
    assert_eq!(memory_needed(&LinkedList::from([1_u64])), 24);
    assert_eq!(memory_needed(&BTreeMap::from([(1_u64, 2_u64)])), 14 * 16);
    assert_eq!(memory_needed(&HashMap::from([(1_u64, 2_u64)])), 4 * 17);
    let map: indexmap::IndexMap<_, _> = (0_u8..9).map(|n| (n, n)).collect();
    assert_eq!(memory_needed(&map), 16 * (2 + 8 + 8 + 1));
    assert_eq!(memory_needed(&Serde { list: vec![1, 2] }), 80);
}

#[test]
fn elements_without_bytes_are_counted() {
    assert!(encode_state(&vec![(); 65_536], &LIMITS).is_ok());
    let err = encode_state(&vec![(); 65_537], &LIMITS).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::TooManyElements { limit: 65_536 });
    let decode = |count: u64| decode_state::<Vec<()>>(&count.to_le_bytes(), &LIMITS);
    assert_eq!(decode(65_536).unwrap().len(), 65_536);
    assert_eq!(decode(65_537).unwrap_err().kind(), DecodeErrorKind::InvalidLength);
}

#[derive(Checkpointable, Debug, PartialEq)]
struct Point {
    x: u64,
    y: u64,
}

#[derive(Checkpointable, Debug, PartialEq)]
enum List {
    End(Vec<Point>),
    Cons(Box<List>),
}

#[test]
fn the_deepest_level_may_hold_structs_of_fixed_size() {
    let points = vec![Point { x: 1, y: 2 }];
    let deep = (0..127).fold(List::End(points), |list, _| List::Cons(Box::new(list)));
    let bytes = encode_state(&deep, &LIMITS).unwrap();
    assert!(decode_state::<List>(&bytes, &LIMITS).is_ok());
}
