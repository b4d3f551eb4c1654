//! Descriptions of schemas that nobody's type has: they are stored as metadata, where others may
//! write.

use std::time::Duration;

use checkpoint::{Clock, DecodeErrorKind, SchemaDescription, SystemClock};

/// A description of these nodes, each by its bytes.
fn description(nodes: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(nodes.len()).unwrap().to_le_bytes();
    [&[1][..], &count, &nodes.concat()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
}

fn map(key: u32, value: u32) -> Vec<u8> {
    [&[4][..], &key.to_le_bytes(), &value.to_le_bytes()].concat()
}

fn primitive(name: &str) -> Vec<u8> {
    [vec![0], text(name)].concat()
}

fn structure(fields: &[(&str, u32)]) -> Vec<u8> {
    let mut bytes = vec![6];
    bytes.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
    for (name, place) in fields {
        bytes.extend(text(name));
        bytes.extend(place.to_le_bytes());
    }
    bytes
}

/// K7: a few bytes for each level stand for a tree of 2^60 leaves.
#[test]
fn a_description_that_stands_for_a_huge_tree_is_printed_in_short() {
    let mut nodes: Vec<_> = (1..=60).map(|below| map(below, below)).collect();
    nodes.push(primitive("u8"));
    let maps = SchemaDescription::from_bytes(&description(&nodes)).unwrap();
    let mut nodes: Vec<_> =
        (1..=60).map(|below| structure(&[("a", below), ("b", below)])).collect();
    nodes.push(primitive("u8"));
    let structs = SchemaDescription::from_bytes(&description(&nodes)).unwrap();
    let clock = SystemClock::new();
    for huge in [maps, structs] {
        assert!(huge.to_string().len() < 1 << 20);
        assert!(huge.differences(&huge).is_empty());
    }
    assert!(clock.now().since_start() < Duration::from_secs(5));
}

/// K7: with a name twice, two different descriptions would have no difference.
#[test]
fn a_name_twice_is_no_description() {
    let twice = |twice: Vec<u8>| {
        let bytes = description(&[twice, primitive("u8"), primitive("u16")]);
        let err = SchemaDescription::from_bytes(&bytes).unwrap_err();
        assert_eq!(err.kind(), DecodeErrorKind::Schema, "{err}");
        assert_eq!(err.expected(), "every name once");
        assert!(err.offset() <= bytes.len());
    };
    twice(structure(&[("a", 1), ("a", 2)]));
    twice(structure(&[("", 1), ("b", 1), ("", 1)]));
    // Two variants, without fields.
    let variant = [text("v"), vec![0; 4]].concat();
    twice([vec![7], 2_u32.to_le_bytes().to_vec(), variant.clone(), variant].concat());
    let variant = [text("v"), structure(&[("a", 1), ("a", 2)])[1..].to_vec()].concat();
    twice([vec![7], 1_u32.to_le_bytes().to_vec(), variant].concat());
}
