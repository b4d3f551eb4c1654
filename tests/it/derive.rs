//! Every shape that the derive supports is stored and restored.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::mpsc::{Sender, channel};

use checkpoint::{
    Checkpointable, DecodeErrorKind, EncodeErrorKind, StateLimits, check_round_trip, encode_state,
    restore_state,
};

const LIMITS: StateLimits = StateLimits::DEFAULT;

/// Restores `value` into `other`, which must then be equal to it.
#[track_caller]
fn check<T: Checkpointable + PartialEq + Debug>(value: &T, mut other: T) {
    check_round_trip(value, &LIMITS).unwrap();
    let bytes = encode_state(value, &LIMITS).unwrap();
    restore_state(&mut other, &bytes, &LIMITS).unwrap();
    assert_eq!(*value, other);
}

struct NotStorable(Sender<u64>);

#[derive(Checkpointable)]
struct Session<'a, T, U>
where
    T: Clone,
{
    r#type: u64,
    values: Vec<T>,
    map: HashMap<String, Vec<u64>>,
    inner: Option<Box<Inner>>,
    #[transient]
    sender: NotStorable,
    #[transient]
    borrowed: &'a str,
    #[transient]
    marker: PhantomData<U>,
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
struct Inner {
    number: u32,
    #[transient(default = 77)]
    cache: i32,
}

fn session<'a>(borrowed: &'a str, sender: &Sender<u64>) -> Session<'a, u64, NotStorable> {
    Session {
        r#type: 1,
        values: vec![1, 2, 3],
        map: HashMap::from([("a".to_owned(), vec![1, 2])]),
        inner: Some(Box::new(Inner { number: 5, cache: 9 })),
        sender: NotStorable(sender.clone()),
        borrowed,
        marker: PhantomData,
    }
}

#[test]
fn transient_fields_keep_their_values_and_need_no_bound() {
    let (sender, receiver) = channel();
    let bytes = encode_state(&session("stored", &sender), &LIMITS).unwrap();
    let mut restored = session("kept", &sender);
    restored.r#type = 99;
    restored.values.clear();
    restored.inner = Some(Box::new(Inner { number: 0, cache: 1234 }));
    restore_state(&mut restored, &bytes, &LIMITS).unwrap();
    assert_eq!((restored.r#type, restored.values.as_slice()), (1, [1, 2, 3].as_slice()));
    assert_eq!(restored.map["a"], [1, 2]);
    assert_eq!(restored.borrowed, "kept");
    // In place, inside of `Some` and of the box.
    assert_eq!(restored.inner, Some(Box::new(Inner { number: 5, cache: 1234 })));
    restored.sender.0.send(3).unwrap();
    assert_eq!(receiver.recv(), Ok(3));

    restored.inner = None;
    restore_state(&mut restored, &bytes, &LIMITS).unwrap();
    assert_eq!(restored.inner, Some(Box::new(Inner { number: 5, cache: 77 })), "made anew");
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
struct Node {
    value: u64,
    children: Vec<Node>,
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
struct Tree<T> {
    value: T,
    children: Vec<Tree<T>>,
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
enum List {
    Cons(u64, Box<List>),
    Nil,
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
struct Ping {
    pongs: Vec<Pong>,
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
struct Pong {
    ping: Option<Box<Ping>>,
    next: Option<Box<Self>>,
    number: u8,
}

#[test]
fn types_may_contain_themselves() {
    let leaf = Node { value: 2, children: vec![] };
    check(&Node { value: 1, children: vec![leaf.clone()] }, leaf);
    let leaf = Tree { value: "leaf".to_owned(), children: vec![] };
    check(&Tree { value: "root".to_owned(), children: vec![leaf.clone()] }, leaf);
    check(&List::Cons(1, Box::new(List::Cons(2, Box::new(List::Nil)))), List::Nil);
    let last = Pong { ping: None, next: None, number: 1 };
    let pong = Pong { ping: None, next: Some(Box::new(last)), number: 2 };
    check(&Ping { pongs: vec![pong] }, Ping { pongs: vec![] });
}

#[derive(Checkpointable, Debug, PartialEq, Clone)]
enum Event {
    Nothing,
    Pair(u64, String),
    Named {
        number: u8,
        #[transient(default)]
        connection: Option<u32>,
    },
}

#[test]
fn an_enum_is_restored_in_place_if_the_variant_is_the_same() {
    check(&Event::Pair(1, "x".to_owned()), Event::Nothing);
    let stored = Event::Named { number: 5, connection: Some(1) };
    let bytes = encode_state(&stored, &LIMITS).unwrap();

    let mut same = Event::Named { number: 0, connection: Some(42) };
    restore_state(&mut same, &bytes, &LIMITS).unwrap();
    assert_eq!(same, Event::Named { number: 5, connection: Some(42) });

    let mut other = Event::Nothing;
    restore_state(&mut other, &bytes, &LIMITS).unwrap();
    assert_eq!(other, Event::Named { number: 5, connection: None });
}

#[test]
fn nesting_is_limited_on_both_ways() {
    let nested = |depth| (0..depth).fold(List::Nil, |list, n| List::Cons(n, Box::new(list)));
    check(&nested(127), List::Nil);
    let err = encode_state(&nested(128), &LIMITS).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::TooDeep);

    let bytes = [0_u8; 12].repeat(1_000_000);
    let err = restore_state(&mut List::Nil, &bytes, &LIMITS).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::TooDeep);
}

#[derive(Checkpointable, Debug, PartialEq, Default)]
struct Unit;

#[derive(Checkpointable, Debug, PartialEq, Default)]
struct Pair(u8, #[transient] u16, u32);

#[derive(Checkpointable, Debug, PartialEq, Default)]
struct Generic<T, const N: usize>
where
    [T; N]: Default,
{
    array: [T; N],
    marker: PhantomData<T>,
}

#[derive(Checkpointable, Debug, PartialEq)]
#[repr(u8)]
enum Numbered {
    Five = 5,
    r#Two = 2,
}

#[derive(Checkpointable, Debug, PartialEq)]
enum Never {}

#[test]
fn structs_and_enums_of_every_kind_are_kept() {
    check(&Unit, Unit);
    check(&Generic::<u16, 3> { array: [1, 2, 3], marker: PhantomData }, Generic::default());
    check(&Numbered::r#Two, Numbered::Five);
    assert_eq!(encode_state(&Numbered::Two, &LIMITS).unwrap(), [1, 0, 0, 0]);
    check(&vec![Some(Numbered::Two), None], vec![]);
    check(&None::<Never>, None);

    let bytes = encode_state(&Pair(1, 2, 3), &LIMITS).unwrap();
    let mut pair = Pair(0, 9, 0);
    restore_state(&mut pair, &bytes, &LIMITS).unwrap();
    assert_eq!(pair, Pair(1, 9, 3));
}

#[test]
fn an_enum_without_variants_has_no_encoding() {
    let err = restore_state(&mut None::<Never>, &[1, 0, 0, 0, 0], &LIMITS).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::UnknownVariant);
}

#[derive(Checkpointable)]
struct InPlace {
    array: [Pair; 2],
    tuple: (Pair, u8),
    boxed: Box<Pair>,
}

#[test]
fn arrays_tuples_and_boxes_are_restored_in_place() {
    let state = |n: u8, cache| InPlace {
        array: [Pair(n, cache, 0), Pair(n, cache, 1)],
        tuple: (Pair(n, cache, 2), n),
        boxed: Box::new(Pair(n, cache, 3)),
    };
    let bytes = encode_state(&state(1, 0), &LIMITS).unwrap();
    let mut restored = state(0, 9);
    restore_state(&mut restored, &bytes, &LIMITS).unwrap();
    assert_eq!(restored.array, [Pair(1, 9, 0), Pair(1, 9, 1)]);
    assert_eq!(restored.tuple, (Pair(1, 9, 2), 1));
    assert_eq!(*restored.boxed, Pair(1, 9, 3));
}

#[derive(Checkpointable, Debug, PartialEq)]
struct Fragile {
    number: u64,
    list: Vec<Panics>,
}

#[derive(Checkpointable, Debug, PartialEq)]
struct Panics {
    #[transient(default = panic!("no value"))]
    value: u8,
}

#[test]
fn a_default_that_panics_leaves_the_instance_as_it_was() {
    let stored = Fragile { number: 1, list: vec![Panics { value: 1 }] };
    let bytes = encode_state(&stored, &LIMITS).unwrap();
    let mut state = Fragile { number: 2, list: vec![] };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        restore_state(&mut state, &bytes, &LIMITS)
    }));
    assert!(result.is_err());
    assert_eq!(state, Fragile { number: 2, list: vec![] });
}

fn is_send<T: Send>() {}

#[test]
fn what_was_decoded_can_be_handed_to_another_thread() {
    // Although the type itself has a field that cannot.
    is_send::<<Session<'_, u64, *const u8> as Checkpointable>::Staged>();
}

/// Numbers in a row are written at once: the same bytes as one by one, and the same errors.
#[derive(Checkpointable, Debug, Clone, PartialEq)]
struct Numbers {
    first: u32,
    yes: bool,
    small: i8,
    float: f64,
    text: String,
    wide: u128,
    last: u16,
}

#[test]
fn numbers_in_a_row_have_the_layout_of_each_by_itself() {
    let numbers = Numbers {
        first: 0x0102_0304,
        yes: true,
        small: -2,
        float: 1.5,
        text: "ab".to_owned(),
        wide: 7,
        last: 0x0506,
    };
    let bytes = encode_state(&numbers, &LIMITS).unwrap();
    let mut expected = vec![4, 3, 2, 1, 1, 0xfe];
    expected.extend_from_slice(&1.5_f64.to_le_bytes());
    expected.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
    expected.extend_from_slice(&7_u128.to_le_bytes());
    expected.extend_from_slice(&[6, 5]);
    assert_eq!(bytes, expected);
    let other = Numbers { first: 0, text: String::new(), ..numbers.clone() };
    check(&numbers, other);
}

#[test]
fn the_number_in_a_row_that_is_too_much_is_named() {
    let numbers = Numbers {
        first: 1,
        yes: false,
        small: 0,
        float: 0.0,
        text: String::new(),
        wide: 0,
        last: 0,
    };
    for (limit, field) in
        [(3, "first"), (4, "yes"), (5, "small"), (13, "float"), (37, "wide"), (39, "last")]
    {
        let limits = LIMITS.with_state_bytes_max(limit);
        let err = encode_state(&numbers, &limits).unwrap_err();
        assert_eq!(err.kind(), EncodeErrorKind::TooLarge { limit });
        assert!(err.to_string().contains(field), "{err} names not {field}");
    }
    encode_state(&numbers, &LIMITS.with_state_bytes_max(40)).unwrap();
}

#[expect(clippy::builtin_type_shadow, non_camel_case_types, reason = "that is what is tested")]
mod called_like_numbers {
    use super::{Checkpointable, check};

    // It looks like a number and is none.
    type u64 = String;
    // It is a number, but not of this size.
    type u8 = i32;

    #[derive(Checkpointable, Debug, PartialEq)]
    struct Misleading<i16> {
        one: u64,
        two: u64,
        three: u8,
        four: u8,
        five: i16,
        six: i16,
    }

    #[test]
    fn types_that_are_called_like_numbers_are_kept() {
        let text = |text: &str| text.to_owned();
        let value = Misleading {
            one: text("one"),
            two: text("two"),
            three: 1 << 20,
            four: 4,
            five: vec![1_u32],
            six: vec![2],
        };
        let other = Misleading {
            one: text(""),
            two: text("2"),
            three: 0,
            four: 0,
            five: vec![],
            six: vec![],
        };
        check(&value, other);
    }
}
