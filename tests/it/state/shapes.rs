//! Every shape that the derive supports comes back as it was, with any values in it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::marker::PhantomData;

use checkpoint::{
    Checkpointable, Rebuild, StateLimits, check_round_trip, decode_state, encode_state,
    restore_state,
};
use proptest::array::uniform2;
use proptest::collection::{btree_map, hash_map, vec};
use proptest::prelude::*;

const LIMITS: StateLimits = StateLimits::DEFAULT;

#[derive(Checkpointable, Debug, Clone, PartialEq)]
struct Unit;

#[derive(Checkpointable, Debug, Clone, PartialEq)]
struct Empty {}

#[derive(Checkpointable, Debug, Clone, PartialEq)]
struct Tuple(u8, #[transient(default = 7)] u16, String);

/// All values have one size: slices of it have a way of their own.
#[derive(Checkpointable, Debug, Clone, Copy, PartialEq)]
struct Fixed {
    first: u16,
    second: [i64; 2],
    third: (bool, f32),
}

#[derive(Checkpointable, Debug, Clone, PartialEq)]
enum Choice<T> {
    Unit,
    Empty {},
    Tuple(T, Option<Box<Choice<T>>>),
    Named {
        r#type: Vec<T>,
        #[transient(default)]
        cache: u8,
        #[checkpoint(serde, version = 1)]
        through_serde: BTreeMap<String, Vec<u16>>,
    },
}

#[derive(Checkpointable, Debug, Clone, PartialEq)]
struct Generic<'a, T, U, const N: usize>
where
    T: Clone,
{
    array: [T; N],
    deep: HashMap<u8, Vec<Option<T>>>,
    #[transient(default)]
    borrowed: &'a str,
    #[transient(default)]
    marker: PhantomData<U>,
}

type Branches<T> = Vec<Bounded<T>>;

#[derive(Checkpointable, Debug, Clone, PartialEq)]
#[checkpoint(bound = "T: Rebuild")]
struct Bounded<T> {
    value: T,
    branches: Branches<T>,
}

#[derive(Checkpointable, Debug, Clone, PartialEq)]
struct All {
    unit: Unit,
    empty: Empty,
    tuple: Tuple,
    fixed: Vec<Fixed>,
    fixed_array: [Fixed; 2],
    choice: Choice<String>,
    choices: Vec<Choice<u8>>,
    generic: Generic<'static, u32, fn(), 2>,
    bounded: Bounded<Tuple>,
    next: Option<Box<Self>>,
}

/// What is not stored, as it is after a restore into a new value.
fn tuple() -> impl Strategy<Value = Tuple> {
    any::<(u8, String)>().prop_map(|(first, third)| Tuple(first, 7, third))
}

fn fixed() -> impl Strategy<Value = Fixed> {
    (any::<u16>(), any::<[i64; 2]>(), any::<bool>(), prop::num::f32::NORMAL)
        .prop_map(|(first, second, a, b)| Fixed { first, second, third: (a, b) })
}

fn choice<T: Arbitrary + Clone + 'static>() -> impl Strategy<Value = Choice<T>> {
    let through_serde = btree_map(any::<String>(), any::<Vec<u16>>(), 0..3);
    let leaf = prop_oneof![
        Just(Choice::Unit),
        Just(Choice::Empty {}),
        (any::<Vec<T>>(), through_serde).prop_map(|(list, through_serde)| {
            Choice::Named { r#type: list, cache: 0, through_serde }
        }),
    ];
    leaf.prop_recursive(4, 8, 1, |inner| {
        (any::<T>(), proptest::option::of(inner))
            .prop_map(|(value, inner)| Choice::Tuple(value, inner.map(Box::new)))
    })
}

fn generic() -> impl Strategy<Value = Generic<'static, u32, fn(), 2>> {
    let deep = hash_map(any::<u8>(), any::<Vec<Option<u32>>>(), 0..4);
    (any::<[u32; 2]>(), deep).prop_map(|(array, deep)| Generic {
        array,
        deep,
        borrowed: "",
        marker: PhantomData,
    })
}

fn bounded() -> impl Strategy<Value = Bounded<Tuple>> {
    let leaf = tuple().prop_map(|value| Bounded { value, branches: vec![] });
    leaf.prop_recursive(3, 8, 3, |inner| {
        (tuple(), vec(inner, 0..3)).prop_map(|(value, branches)| Bounded { value, branches })
    })
}

fn one() -> impl Strategy<Value = All> {
    let parts = (
        tuple(),
        vec(fixed(), 0..5),
        uniform2(fixed()),
        choice::<String>(),
        vec(choice::<u8>(), 0..3),
        generic(),
        bounded(),
    );
    parts.prop_map(|(tuple, fixed, fixed_array, choice, choices, generic, bounded)| All {
        unit: Unit,
        empty: Empty {},
        tuple,
        fixed,
        fixed_array,
        choice,
        choices,
        generic,
        bounded,
        next: None,
    })
}

fn all() -> impl Strategy<Value = All> {
    (one(), proptest::option::of(one()))
        .prop_map(|(all, next)| All { next: next.map(Box::new), ..all })
}

#[track_caller]
fn check<T: Rebuild + PartialEq + Debug>(value: &T, mut other: T) {
    check_round_trip(value, &LIMITS).unwrap();
    let bytes = encode_state(value, &LIMITS).unwrap();
    assert_eq!(T::rebuild(decode_state::<T>(&bytes, &LIMITS).unwrap()), *value);
    restore_state(&mut other, &bytes, &LIMITS).unwrap();
    assert_eq!(other, *value);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_shape_comes_back_as_it_was(value in all(), other in all()) {
        check(&value, other);
    }
}
