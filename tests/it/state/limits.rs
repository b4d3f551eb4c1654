//! Every limit holds on both ways with the same number: one less and it is refused.

use std::collections::{BTreeMap, HashMap, LinkedList};

use checkpoint::{
    Checkpointable, DecodeErrorKind, EncodeErrorKind, StateLimits, decode_state, encode_state,
};
use proptest::prelude::*;

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
    assert_eq!(memory_needed(&"abc".to_owned()), 0);
    assert_eq!(memory_needed(&Box::new([0_u64; 4])), 32);
    assert_eq!(memory_needed(&vec![String::from("abc")]), size_of::<String>());
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

#[derive(Checkpointable)]
struct Large {
    numbers: [u64; 1024],
    next: Option<Box<Large>>,
}

fn large(depth: usize) -> Large {
    let next = |next, _| Some(Box::new(Large { numbers: [0; 1024], next }));
    *(0..depth).fold(None, next).unwrap()
}

#[test]
fn large_types_may_be_nested_less_deep() {
    let size = size_of::<<Large as Checkpointable>::Staged>();
    let depth = 1 + (128 << 10) / size;
    let bytes = encode_state(&large(depth), &LIMITS).unwrap();
    assert!(decode_state::<Large>(&bytes, &LIMITS).is_ok());
    let err = encode_state(&large(depth + 1), &LIMITS).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::TooDeep);
    // Each level is all zeros but for the tag behind its numbers.
    let level = bytes[..8193].repeat(1000);
    let err = decode_state::<Large>(&level, &LIMITS).map(drop).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::TooDeep);
    // Side by side they are not nested.
    let many: Vec<Large> = (0..100).map(|_| large(1)).collect();
    let bytes = encode_state(&many, &LIMITS).unwrap();
    assert!(decode_state::<Vec<Large>>(&bytes, &LIMITS).is_ok());
}

#[derive(Checkpointable, Debug, Clone)]
struct Anything {
    texts: Vec<String>,
    maps: Vec<BTreeMap<u8, Vec<u16>>>,
    table: HashMap<u16, Option<Box<Anything>>>,
    nothings: Vec<()>,
    boxes: LinkedList<Box<[bool; 3]>>,
    #[checkpoint(serde, version = 1)]
    by_serde: Vec<String>,
}

fn anything() -> impl Strategy<Value = Anything> {
    let level = |inner: BoxedStrategy<Option<Box<Anything>>>| {
        let texts = any::<Vec<String>>();
        let maps = prop::collection::vec(any::<BTreeMap<u8, Vec<u16>>>(), 0..4);
        let table = prop::collection::hash_map(any::<u16>(), inner, 0..4);
        let boxes = any::<LinkedList<Box<[bool; 3]>>>();
        let nothings = (0_usize..9).prop_map(|count| vec![(); count]);
        (texts, maps, table, nothings, boxes, any::<Vec<String>>()).prop_map(
            |(texts, maps, table, nothings, boxes, by_serde)| Anything {
                texts,
                maps,
                table,
                nothings,
                boxes,
                by_serde,
            },
        )
    };
    let inner = level(Just(None).boxed()).prop_map(|state| Some(Box::new(state)));
    level(prop_oneof![Just(None), inner].boxed())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_encoded_can_be_restored(
        state in anything(),
        state_bytes in 0_usize..4000,
        memory_bytes in 0_usize..20_000,
    ) {
        let limits =
            LIMITS.with_state_bytes_max(state_bytes).with_memory_bytes_max(memory_bytes);
        if let Ok(bytes) = encode_state(&state, &limits) {
            prop_assert!(decode_state::<Anything>(&bytes, &limits).is_ok());
        }
        // And the other way round: nothing is refused that could be restored.
        let bytes = encode_state(&state, &LIMITS).unwrap();
        prop_assert_eq!(
            encode_state(&state, &limits).is_ok(),
            decode_state::<Anything>(&bytes, &limits).is_ok()
        );
    }
}
