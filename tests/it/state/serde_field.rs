//! Fields that are stored through serde.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};

use checkpoint::{
    Checkpointable, DecodeErrorKind, EncodeErrorKind, StateLimits, encode_state, restore_state,
};
use proptest::prelude::*;
use serde::de::{self, DeserializeOwned};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LIMITS: StateLimits = StateLimits::DEFAULT;

#[derive(Checkpointable, Debug, PartialEq, Default)]
#[checkpoint(bound = "T: Serialize + DeserializeOwned")]
struct Holder<T> {
    before: u8,
    #[checkpoint(serde, version = 1)]
    value: T,
    after: u8,
}

/// Stores `value` between two bytes; returns its bytes.
#[track_caller]
fn encode<T: Serialize + DeserializeOwned>(value: T) -> Vec<u8> {
    let bytes = encode_state(&Holder { before: 1, value, after: 2 }, &LIMITS).unwrap();
    let (length, value) = bytes.split_first_chunk::<9>().unwrap();
    let (after, value) = value.split_last().unwrap();
    assert_eq!((length.first(), *after), (Some(&1), 2));
    assert_eq!(length.last_chunk(), Some(&(value.len() as u64).to_le_bytes()));
    value.to_vec()
}

fn around(value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend((value.len() as u64).to_le_bytes());
    bytes.extend(value);
    bytes.push(2);
    bytes
}

#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug + Default + Clone>(value: &T) {
    let bytes = encode(value.clone());
    let theirs = bincode::serde::encode_to_vec(value, bincode::config::legacy()).unwrap();
    assert_eq!(bytes, theirs);
    let mut restored = Holder::default();
    restore_state(&mut restored, &around(&bytes), &LIMITS).unwrap();
    assert_eq!(restored, Holder { before: 1, value: value.clone(), after: 2 });
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
struct Everything {
    integers: (u8, u16, u32, u64, u128, i8, i16, i32, i64, i128),
    others: (f32, f64, bool, char, ()),
    text: String,
    list: Vec<Shape>,
    map: BTreeMap<String, Option<u64>>,
    newtype: Newtype,
    unit: Unit,
    array: [u8; 3],
    boxed: Option<Box<Everything>>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
struct Newtype(u64);

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
struct Unit;

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Shape {
    Unit,
    Newtype(String),
    Tuple(u8, u16),
    Struct { a: i8, b: Vec<Unit> },
}

#[test]
fn every_shape_is_stored_in_the_layout_of_bincode_1() {
    check(&1_u64);
    check(&"text".to_owned());
    check(&HashMap::from([("a".to_owned(), 1)]));
    check(&vec![(); 65_536]);
    check(&Everything::default());
    let inner = Everything { newtype: Newtype(3), ..Everything::default() };
    check(&Everything {
        integers: (1, 2, 3, 4, 5, -1, -2, -3, -4, -5),
        others: (1.5, -2.5, true, '€', ()),
        text: "é".to_owned(),
        list: vec![
            Shape::Unit,
            Shape::Newtype("n".to_owned()),
            Shape::Tuple(1, 2),
            Shape::Struct { a: 1, b: vec![Unit, Unit] },
        ],
        map: BTreeMap::from([("a".to_owned(), Some(1)), ("b".to_owned(), None)]),
        array: [1, 2, 3],
        boxed: Some(Box::new(inner)),
        ..Everything::default()
    });
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
enum List {
    #[default]
    Nil,
    Cons(Box<List>),
}

#[test]
fn nesting_is_limited_on_both_ways() {
    let nested = |depth| (0..depth).fold(List::Nil, |list, _| List::Cons(Box::new(list)));
    let holder = |depth| Holder { before: 1, value: nested(depth), after: 2 };
    // One level is that of the struct itself.
    let bytes = encode_state(&holder(127), &LIMITS).unwrap();
    let mut restored = holder(0);
    restore_state(&mut restored, &bytes, &LIMITS).unwrap();
    assert_eq!(restored, holder(127));
    let err = encode_state(&holder(128), &LIMITS).unwrap_err();
    assert_eq!((err.kind(), err.field().as_str()), (EncodeErrorKind::TooDeep, "value"));

    let bytes = around(&1_u32.to_le_bytes().repeat(1_000_000));
    let err = restore_state(&mut restored, &bytes, &LIMITS).unwrap_err();
    assert_eq!((err.kind(), err.field().as_str()), (DecodeErrorKind::TooDeep, "value"));
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Tree {
    children: Vec<Tree>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Names {
    inner: BTreeMap<String, Names>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
enum Formula {
    #[default]
    Zero,
    Not {
        of: Box<Formula>,
    },
    And(Box<Formula>, Box<Formula>),
}

/// What `grow` makes of the default may be `levels` deep, and not one more; nor a million, of which
/// each has the bytes `level`.
#[track_caller]
fn check_nesting<T>(levels: usize, level: &[u8], grow: impl Fn(T) -> T)
where
    T: Serialize + DeserializeOwned + Default + Debug + PartialEq,
{
    let nested = |levels| Holder {
        before: 1,
        value: (0..levels).fold(T::default(), |v, _| grow(v)),
        after: 2,
    };
    let value = encode(nested(levels).value);
    let mut restored = nested(0);
    restore_state(&mut restored, &around(&value), &LIMITS).unwrap();
    assert_eq!(restored, nested(levels));
    let err = encode_state(&nested(levels + 1), &LIMITS).unwrap_err();
    assert_eq!((err.kind(), err.field().as_str()), (EncodeErrorKind::TooDeep, "value"));

    assert!(value.starts_with(&level.repeat(levels)));
    let one_more = [level, &value].concat();
    for value in [one_more, level.repeat(1_000_000)] {
        let err = restore_state(&mut restored, &around(&value), &LIMITS).unwrap_err();
        assert_eq!((err.kind(), err.field().as_str()), (DecodeErrorKind::TooDeep, "value"));
    }
    assert_eq!(restored, nested(levels));
}

#[test]
fn a_million_nested_levels_are_an_error() {
    let one = 1_u64.to_le_bytes();
    check_nesting(62, &one, |tree| Tree { children: vec![tree] });
    check_nesting(63, &[1], |chain| Chain { next: Some(Box::new(chain)) });
    let name = [one, 0_u64.to_le_bytes()].concat();
    check_nesting(62, &name, |inner| Names { inner: BTreeMap::from([(String::new(), inner)]) });
    let number = 1_u32.to_le_bytes();
    check_nesting(127, &number, |formula| Formula::Not { of: Box::new(formula) });
    let number = 2_u32.to_le_bytes();
    check_nesting(127, &number, |formula| Formula::And(Box::new(formula), Box::default()));
}

#[test]
fn lengths_of_2_to_the_60_are_an_error() {
    #[track_caller]
    fn check<T: Serialize + DeserializeOwned + Default>(kind: DecodeErrorKind) {
        for length in [1 << 32, 1 << 60, 1 << 63, u64::MAX] {
            for rest in [0, 4, 1000] {
                let value = [u64::to_le_bytes(length).to_vec(), vec![1; rest]].concat();
                let mut state = Holder::<T>::default();
                let err = restore_state(&mut state, &around(&value), &LIMITS).unwrap_err();
                assert_eq!((err.kind(), err.field().as_str()), (kind, "value"), "{err}");
            }
        }
    }
    check::<String>(DecodeErrorKind::UnexpectedEnd);
    check::<Bytes>(DecodeErrorKind::UnexpectedEnd);
    check::<Vec<u8>>(DecodeErrorKind::InvalidLength);
    check::<Vec<()>>(DecodeErrorKind::InvalidLength);
    check::<Vec<Everything>>(DecodeErrorKind::InvalidLength);
    check::<HashMap<String, u64>>(DecodeErrorKind::InvalidLength);
    check::<Trusting>(DecodeErrorKind::InvalidLength);
}

/// A byte string, as serde knows it.
#[derive(PartialEq, Debug, Clone, Default)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// A list that allocates all that its length claims, as some crates do.
#[derive(PartialEq, Debug, Clone, Default)]
struct Trusting(Vec<u64>);

impl Serialize for Trusting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trusting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Trusting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Trusting, A::Error> {
                let count = list.size_hint().unwrap();
                assert!(count <= 20, "it would allocate memory for {count} numbers");
                let mut numbers = Vec::with_capacity(count);
                while let Some(number) = list.next_element()? {
                    numbers.push(number);
                }
                Ok(Trusting(numbers))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

#[test]
fn hints_are_bounded_by_the_bytes() {
    // Few enough to be possible, if they had no bytes.
    let value = [60_000_u64.to_le_bytes().to_vec(), vec![1; 20]].concat();
    let mut state = Holder::<Trusting>::default();
    let err = restore_state(&mut state, &around(&value), &LIMITS).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::UnexpectedEnd);
    check(&Trusting(vec![1, 2]));
    check(&Bytes(vec![1, 2]));
}

#[test]
fn bytes_that_are_no_value_are_reported_as_such() {
    #[track_caller]
    fn check<T: Serialize + DeserializeOwned + Default>(
        value: &[u8],
        expected: (DecodeErrorKind, usize, &str, &str),
    ) {
        let mut state = Holder::<(u8, T)>::default();
        let value = [&[0], value].concat();
        let err = restore_state(&mut state, &around(&value), &LIMITS).unwrap_err();
        // Before come a byte, a length and a byte.
        let found = (err.kind(), err.offset() - 10, err.expected(), err.found());
        assert_eq!(found, expected);
        assert_eq!(err.field(), "value");
    }
    let invalid = DecodeErrorKind::InvalidValue;
    check::<bool>(&[7], (invalid, 0, "0 or 1 for a bool", "7"));
    check::<Option<u8>>(&[2, 0], (invalid, 0, "0 or 1 for an Option", "2"));
    for bytes in [&[0xff][..], &[0xc3, 0x28], &[0xe2, 0x82, 0x28], &[0xf0, 0x28, 0x8c, 0xbc]] {
        check::<char>(bytes, (invalid, 0, "a character in UTF-8", "other bytes"));
    }
    let end = DecodeErrorKind::UnexpectedEnd;
    check::<u64>(&[1, 2], (end, 0, "8 bytes", "2"));
    check::<String>(&[3, 0, 0, 0, 0, 0, 0, 0, b'a'], (end, 8, "3 bytes", "1"));
    let serde = "a value that serde accepts";
    let serde = |offset, found| (DecodeErrorKind::Serde, offset, serde, found);
    check::<String>(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff], serde(9, "a text that is not UTF-8"));
    let found = "invalid value: integer `9`, expected variant index 0 <= i < 3";
    check::<Formula>(&[9, 0, 0, 0], serde(4, found));
    let length = DecodeErrorKind::InvalidLength;
    check::<Vec<u8>>(&[0xff; 8], (length, 0, "a length of at most 65536", "18446744073709551615"));
}

/// Says that all went well, whatever did not.
#[derive(PartialEq, Debug, Default)]
struct Careless(List);

impl Serialize for Careless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(1)?;
        drop(tuple.serialize_element(&self.0));
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Careless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(List::deserialize(deserializer).map(Careless).unwrap_or_default())
    }
}

#[test]
fn a_limit_that_the_type_passes_over_in_silence_is_an_error() {
    let value = Careless((0..1000).fold(List::Nil, |list, _| List::Cons(Box::new(list))));
    let err = encode_state(&Holder { before: 1, value, after: 2 }, &LIMITS).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::TooDeep);
    let bytes = around(&1_u32.to_le_bytes().repeat(1000));
    let err = restore_state(&mut Holder::<Careless>::default(), &bytes, &LIMITS).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::TooDeep);
}

#[test]
fn elements_without_bytes_are_limited_on_both_ways() {
    let err = encode_state(&Holder { before: 1, value: vec![(); 65_537], after: 2 }, &LIMITS);
    assert!(matches!(err.unwrap_err().kind(), EncodeErrorKind::TooManyElements { .. }));
    let bytes = around(&u64::MAX.to_le_bytes());
    let err = restore_state(&mut Holder::<Vec<()>>::default(), &bytes, &LIMITS).unwrap_err();
    assert_eq!(err.kind(), DecodeErrorKind::InvalidLength);
}

#[test]
fn lengths_beyond_the_field_are_refused() {
    for value in [vec![255; 8], 1_u64.to_le_bytes().to_vec(), vec![1]] {
        let err = restore_state(&mut Holder::<String>::default(), &around(&value), &LIMITS);
        // The bytes behind the field are not taken for its own.
        let err = err.unwrap_err();
        assert_eq!(err.kind(), DecodeErrorKind::UnexpectedEnd, "{err}");
    }
    let mut longer = encode(1_u64);
    longer.push(0);
    let err = restore_state(&mut Holder::<u64>::default(), &around(&longer), &LIMITS).unwrap_err();
    assert_eq!((err.kind(), err.offset()), (DecodeErrorKind::TrailingBytes, 17));
}

#[derive(Serialize, Deserialize, Debug)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    option: Option<u8>,
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
}

#[test]
fn what_serde_could_not_decode_is_refused_when_encoded() {
    let err =
        encode_state(&Holder { before: 1, value: Sparse { option: None }, after: 2 }, &LIMITS);
    assert!(err.unwrap_err().to_string().contains("skip_serializing_if"));
    if cfg!(debug_assertions) {
        let untagged = Holder { before: 1, value: Untagged::Number(1), after: 2 };
        let err = encode_state(&untagged, &LIMITS).unwrap_err();
        assert_eq!(err.kind(), EncodeErrorKind::Serde);
        assert!(err.to_string().contains("#[serde(untagged)]"), "{err}");
    }
}

#[test]
fn a_full_buffer_is_reported_as_such() {
    let limits = LIMITS.with_state_bytes_max(100);
    let value = vec![1_u64; 100];
    let err = encode_state(&Holder { before: 1, value, after: 2 }, &limits).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::TooLarge { limit: 100 });
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_or_a_value(bytes in prop::collection::vec(0_u8..4, 0..400)) {
        let bytes = around(&bytes);
        let mut state = Holder { before: 7, value: Everything::default(), after: 8 };
        match restore_state(&mut state, &bytes, &LIMITS) {
            Err(_) => prop_assert_eq!((state.before, state.after), (7, 8)),
            Ok(()) => prop_assert!(encode_state(&state, &LIMITS).unwrap().len() <= bytes.len()),
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_a_value(
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let value = Everything {
            text: "text".to_owned(),
            list: vec![Shape::Newtype("n".to_owned()), Shape::Struct { a: 1, b: vec![Unit] }],
            boxed: Some(Box::default()),
            ..Everything::default()
        };
        let mut bytes = encode_state(&Holder { before: 1, value, after: 2 }, &LIMITS).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        drop(restore_state(&mut Holder::<Everything>::default(), &bytes, &LIMITS));
    }
}
