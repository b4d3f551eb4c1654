//! What was decoded is compared with what was encoded: a loss is found, and nothing else is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use checkpoint::{
    Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, RoundTripError, Schema,
    StateLimits, check_round_trip,
};
use indexmap::{IndexMap, IndexSet};
use proptest::collection::{hash_map, hash_set, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const LIMITS: StateLimits = StateLimits::DEFAULT;

/// A position whose hand-written impl loses a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lossy {
    x: u32,
    y: u32,
}

impl Checkpointable for Lossy {
    type Staged = Self;
    const MIN_SIZE: usize = 8;
    const SCHEMA: &'static Schema = &Schema::Primitive("lossy");

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        self.x.encode(encoder)?;
        self.y.encode(encoder)
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (x, _) = (u32::decode(decoder)?, u32::decode(decoder)?);
        Ok(Self { x, y: x })
    }

    fn encode_staged(staged: &Self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.encode(encoder)
    }

    fn apply(&mut self, staged: Self) {
        *self = staged;
    }
}

impl Rebuild for Lossy {
    fn rebuild(staged: Self) -> Self {
        staged
    }
}

const LOST: Lossy = Lossy { x: 1, y: 2 };
const KEPT: Lossy = Lossy { x: 3, y: 3 };

/// Checks that the loss is found, in the field and from the byte on.
#[track_caller]
fn check_found<T: Checkpointable>(state: &T, field: &str, offset: usize) {
    match check_round_trip(state, &LIMITS) {
        Err(RoundTripError::Differs(difference)) => {
            assert_eq!((difference.field(), difference.offset()), (field, offset));
        }
        other => panic!("{other:?}"),
    }
}

#[derive(Checkpointable, Clone)]
struct Game<T> {
    number: u8,
    unit: T,
    name: String,
}

fn game<T>(unit: T) -> Game<T> {
    Game { number: 1, unit, name: "x".to_owned() }
}

#[derive(Checkpointable)]
enum Move {
    Pass,
    Jump { from: Lossy, to: u8 },
}

#[test]
fn a_loss_is_found_wherever_it_is() {
    check_found(&LOST, "", 4);
    check_found(&game(LOST), "unit", 5);
    check_found(&game(game(LOST)), "unit.unit", 6);
    check_found(&game(Box::new(Some(LOST))), "unit", 6);
    check_found(&game(Ok::<Lossy, u8>(LOST)), "unit", 9);
    check_found(&game(Err::<u8, Lossy>(LOST)), "unit", 9);
    check_found(&game((7_u8, LOST)), "unit.1", 6);
    check_found(&game([KEPT, LOST]), "unit[..]", 13);
    check_found(&game(vec![KEPT, LOST]), "unit[..]", 21);
    check_found(&game(Arc::new(LOST)), "unit", 5);
    check_found(&game(std::cell::Cell::new(LOST)), "unit", 5);
    check_found(&game(std::num::Wrapping(LOST)), "unit", 5);
    check_found(&game(std::ops::Bound::Included(LOST)), "unit", 9);
    check_found(&Move::Jump { from: LOST, to: 1 }, "Jump.from", 8);
    check_found(&game(IndexMap::<u8, Lossy>::from([(1, KEPT), (2, LOST)])), "unit[..]", 23);
}

#[test]
fn a_loss_in_a_collection_without_an_order_is_found() {
    // It is not known which of the entries it was: the offset is that of the collection.
    check_found(&game(HashMap::from([(1_u8, KEPT), (2, LOST)])), "unit", 1);
    check_found(&game(HashSet::from([KEPT, LOST])), "unit", 1);
    check_found(&game(BTreeMap::from([(1_u8, KEPT), (2, LOST)])), "unit", 1);
    check_found(&game(vec![HashMap::from([(1_u8, LOST)])]), "unit[..]", 9);
}

#[test]
fn what_was_kept_is_not_taken_for_a_loss() {
    check_round_trip(&game(KEPT), &LIMITS).unwrap();
    check_round_trip(&game(HashMap::from([(1_u8, KEPT)])), &LIMITS).unwrap();
    check_round_trip(&(Move::Pass, Move::Jump { from: KEPT, to: 1 }), &LIMITS).unwrap();
}

#[test]
fn the_error_says_where_the_loss_is_and_what_to_do() {
    let error = check_round_trip(&game(LOST), &LIMITS).unwrap_err();
    assert_eq!(error.to_string(), "what was encoded decodes to another state");
    let source = error.source().unwrap().to_string();
    assert!(source.starts_with("field `unit`: "), "{source}");
    assert!(source.contains("from byte 5 on"), "{source}");
    assert!(source.contains("`decode` of its type must return"), "{source}");
}

/// Whose `decode` makes one element less of what it reads.
struct Shorter(Vec<u8>);

impl Checkpointable for Shorter {
    type Staged = Vec<u8>;
    const MIN_SIZE: usize = 8;
    const SCHEMA: &'static Schema = <Vec<u8>>::SCHEMA;

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.write_bytes(&self.0)
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, DecodeError> {
        let bytes = decoder.read_bytes(decoder.remaining())?;
        Ok(bytes[..bytes.len() - 1].to_vec())
    }

    fn encode_staged(staged: &Vec<u8>, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.write_bytes(staged)
    }

    fn apply(&mut self, staged: Vec<u8>) {
        self.0 = staged;
    }
}

#[test]
fn what_is_missing_at_the_end_is_found() {
    check_found(&Shorter(vec![1, 2, 3]), "", 2);
}

#[test]
fn errors_of_encoding_and_decoding_are_told_apart() {
    let limits = LIMITS.with_state_bytes_max(7);
    let error = check_round_trip(&1_u64, &limits).unwrap_err();
    assert!(matches!(error, RoundTripError::Encode(_)), "{error:?}");
    let error = check_round_trip(&Unreadable, &LIMITS).unwrap_err();
    assert!(matches!(error, RoundTripError::Decode(_)), "{error:?}");
}

struct Unreadable;

impl Checkpointable for Unreadable {
    type Staged = ();
    const MIN_SIZE: usize = 0;
    const SCHEMA: &'static Schema = u8::SCHEMA;

    fn encode(&self, _: &mut Encoder) -> Result<(), EncodeError> {
        Ok(())
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        u8::decode(decoder).map(drop)
    }

    fn encode_staged((): &(), _: &mut Encoder) -> Result<(), EncodeError> {
        Ok(())
    }

    fn apply(&mut self, (): ()) {}
}

/// Serde writes another number than it reads.
#[derive(Debug)]
struct Doubled(u64);

impl Serialize for Doubled {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0 * 2)
    }
}

impl<'de> Deserialize<'de> for Doubled {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

#[derive(Serialize, Deserialize, Debug, Clone)]
struct Table {
    rows: HashMap<String, HashSet<u32>>,
    heap: BinaryHeap<u8>,
    number: f32,
}

#[derive(Checkpointable, Debug)]
struct ThroughSerde<T: Serialize + for<'de> Deserialize<'de>> {
    before: u8,
    #[checkpoint(serde, version = 1)]
    field: T,
    after: u8,
}

fn through_serde<T: Serialize + for<'de> Deserialize<'de>>(field: T) -> ThroughSerde<T> {
    ThroughSerde { before: 1, field, after: 2 }
}

#[test]
fn serde_impls_that_do_not_match_are_found() {
    check_found(&through_serde(Doubled(1)), "field", 9);
    check_round_trip(&through_serde(Doubled(0)), &LIMITS).unwrap();
}

/// Ordered by what is not stored: it comes back in another order.
#[derive(Checkpointable, Debug, Clone, PartialEq, Eq)]
struct Job {
    number: u16,
    #[transient(default)]
    urgency: u8,
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.urgency, self.number).cmp(&(other.urgency, other.number))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[test]
fn an_order_by_what_is_not_stored_is_no_loss() {
    let jobs = [(1, 9), (2, 5), (3, 7), (4, 1), (5, 3)];
    let jobs = jobs.map(|(number, urgency)| Job { number, urgency });
    check_round_trip(&BTreeSet::from(jobs.clone()), &LIMITS).unwrap();
    check_round_trip(&BinaryHeap::from(jobs.clone()), &LIMITS).unwrap();
    check_round_trip(&BTreeMap::from(jobs.map(|job| (job, 1))), &LIMITS).unwrap();
}

/// All at once: itself, containers without an order in each other, shared values, serde.
#[derive(Checkpointable, Debug, Clone)]
struct Tree {
    float: f64,
    names: HashMap<String, Vec<HashSet<(u8, char)>>>,
    sets: BTreeSet<Vec<u8>>,
    heap: BinaryHeap<Job>,
    ordered: IndexMap<u16, IndexSet<u8>>,
    shared: (Arc<HashMap<u8, f32>>, Rc<str>),
    #[checkpoint(serde, version = 1)]
    table: Table,
    #[transient(default = 5)]
    _cache: u64,
    event: Event,
    children: HashMap<u32, Tree>,
}

#[derive(Checkpointable, Debug, Clone)]
enum Event {
    Nothing,
    Sum(Box<Event>, Option<Box<Event>>),
    Named { values: HashMap<i8, Event>, floats: [f32; 2] },
}

fn event() -> impl Strategy<Value = Event> {
    Just(Event::Nothing).prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(left, right, both)| {
                Event::Sum(Box::new(left), both.then(|| Box::new(right)))
            }),
            (hash_map(any::<i8>(), inner, 0..4), any::<[u32; 2]>()).prop_map(|(values, bits)| {
                Event::Named { values, floats: bits.map(f32::from_bits) }
            }),
        ]
    })
}

fn table() -> impl Strategy<Value = Table> {
    let rows = hash_map(any::<String>(), hash_set(any::<u32>(), 0..6), 0..4);
    (rows, vec(any::<u8>(), 0..5), any::<u32>()).prop_map(|(rows, heap, bits)| Table {
        rows,
        heap: heap.into(),
        number: f32::from_bits(bits),
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let job = any::<(u16, u8)>().prop_map(|(number, urgency)| Job { number, urgency });
    let leaf = (
        any::<u64>(),
        hash_map(any::<String>(), vec(hash_set(any::<(u8, char)>(), 0..6), 0..3), 0..5),
        any::<BTreeSet<Vec<u8>>>(),
        vec(job, 0..6),
        vec((any::<u16>(), vec(any::<u8>(), 0..4)), 0..4),
        (hash_map(any::<u8>(), any::<u32>(), 0..6), any::<String>()),
        (table(), any::<u64>()),
        event(),
    );
    let leaf =
        leaf.prop_map(|(bits, names, sets, heap, ordered, shared, (table, cache), event)| {
            let floats =
                shared.0.into_iter().map(|(key, bits)| (key, f32::from_bits(bits))).collect();
            let ordered = ordered.into_iter().map(|(key, list)| (key, list.into_iter().collect()));
            Tree {
                float: f64::from_bits(bits),
                names,
                sets,
                heap: heap.into(),
                ordered: ordered.collect(),
                shared: (Arc::new(floats), shared.1.into()),
                table,
                _cache: cache,
                event,
                children: HashMap::new(),
            }
        });
    leaf.prop_recursive(3, 12, 3, |inner| {
        (inner.clone(), hash_map(any::<u32>(), inner, 0..3))
            .prop_map(|(tree, children)| Tree { children, ..tree })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_state_that_comes_back_is_taken_for_a_loss(tree in tree()) {
        check_round_trip(&tree, &LIMITS).unwrap();
    }

    #[test]
    fn one_loss_among_many_is_found(trees in hash_map(any::<u8>(), tree(), 0..3)) {
        let state = (trees, Some(LOST));
        match check_round_trip(&state, &LIMITS) {
            Err(RoundTripError::Differs(difference)) => prop_assert_eq!(difference.field(), "1"),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
