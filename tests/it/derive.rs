//! Every shape that the derive supports is stored and restored.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::mpsc::{Sender, channel};

use checkpoint::{
    Checkpointable, DecodeErrorKind, EncodeErrorKind, StateLimits, encode_state, restore_state,
};

const LIMITS: StateLimits = StateLimits::DEFAULT;

/// Restores `value` into `other`, which must then be equal to it.
#[track_caller]
fn check<T: Checkpointable + PartialEq + Debug>(value: &T, mut other: T) {
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
