//! Schemas: the same for what stores the same, and never changed by accident.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::Wrapping;
use std::sync::Arc;

use checkpoint::{Checkpointable, SchemaDescription};
use proptest::prelude::*;

fn describe<T: Checkpointable + ?Sized>() -> SchemaDescription {
    SchemaDescription::of::<T>()
}

#[derive(Checkpointable)]
struct Account {
    id: u64,
    owner: Option<String>,
    orders: Vec<Order>,
    #[transient]
    #[expect(dead_code, reason = "only there not to be stored")]
    cache: u8,
}

#[derive(Checkpointable)]
enum Order {
    Market,
    Limit {
        price: f64,
        amount: u32,
    },
    Split(Box<Order>, Box<Order>),
    External {
        #[checkpoint(serde, version = 3)]
        by_serde: u64,
    },
}

mod renamed {
    use checkpoint::Checkpointable;

    use super::Order as Instruction;

    #[derive(Checkpointable)]
    pub(crate) struct Customer {
        id: u64,
        owner: Option<Box<str>>,
        orders: std::collections::VecDeque<Instruction>,
    }
}

#[derive(Checkpointable)]
struct Node {
    value: u8,
    children: Vec<Node>,
}

#[derive(Checkpointable)]
struct Outer {
    value: u8,
    children: Vec<Node>,
}

#[test]
fn fingerprints_never_change() {
    let check = |name: &str, description: SchemaDescription, fingerprint: u64| {
        assert_eq!(
            format!("{:#018x}", description.fingerprint()),
            format!("{fingerprint:#018x}"),
            "{name}"
        );
    };
    check("u64", describe::<u64>(), 0x73db_434a_a26c_bf44);
    check("unit", describe::<()>(), 0xb54a_1dae_7626_c359);
    check("text", describe::<String>(), 0xaf4c_ae02_0a11_9071);
    check("account", describe::<Account>(), 0x07c4_096d_12e5_2bfc);
    check("node", describe::<Node>(), 0xc148_6b3c_4db2_99dc);
    check("map", describe::<HashMap<String, (u8, [i16; 4])>>(), 0x075a_3b7a_d597_2f1f);
    check("result", describe::<Result<bool, std::time::Duration>>(), 0xe61b_b8db_256c_d668);
    check("address", describe::<std::net::SocketAddr>(), 0x96f4_69b8_2445_450e);
    check("uuid", describe::<uuid::Uuid>(), 0xc34b_9ab6_5e84_d4be);
    check("time", describe::<chrono::DateTime<chrono::Utc>>(), 0xa518_6637_b765_3832);
}

#[test]
fn names_of_types_are_not_part_of_the_schema() {
    assert_eq!(describe::<Account>(), describe::<renamed::Customer>());
    // One step along a cycle is the same cycle.
    assert_eq!(describe::<Node>(), describe::<Outer>());
}

#[test]
fn wrappers_are_described_as_what_they_contain() {
    let expected = describe::<u64>();
    assert_eq!(describe::<Box<u64>>(), expected);
    assert_eq!(describe::<Arc<Wrapping<u64>>>(), expected);
    assert_eq!(describe::<Cow<'_, u64>>(), expected);
    assert_eq!(describe::<std::cell::RefCell<u64>>(), expected);
    assert_eq!(describe::<Cow<'_, str>>(), describe::<String>());
    assert_eq!(describe::<VecDeque<u8>>(), describe::<bytes::Bytes>());
    assert_eq!(describe::<BTreeMap<u8, u8>>(), describe::<HashMap<u8, u8>>());
}

#[test]
fn a_description_can_be_read() {
    let expected = "\
{
  id: u64
  owner: option of string
  orders: sequence of one of {
    Market
    Limit {
      price: f64
      amount: u32
    }
    Split {
      0: the type 2 levels up
      1: the type 2 levels up
    }
    External {
      by_serde: serde version 3
    }
  }
}";
    assert_eq!(describe::<Account>().to_string(), expected);
}

#[test]
fn a_description_survives_its_bytes() {
    for description in [describe::<Account>(), describe::<Node>(), describe::<[(); 3]>()] {
        let bytes = description.to_bytes();
        assert_eq!(SchemaDescription::from_bytes(&bytes).unwrap(), description);
        for length in 0..bytes.len() {
            SchemaDescription::from_bytes(&bytes[..length]).unwrap_err();
        }
    }
}

proptest! {
    #[test]
    fn damaged_descriptions_do_no_harm(
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let expected = describe::<Account>();
        let mut bytes = expected.to_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        if let Ok(found) = SchemaDescription::from_bytes(&bytes) {
            prop_assert_eq!(found.to_bytes(), bytes);
            drop(found.to_string());
            drop(expected.differences(&found));
        }
    }
}

mod changed {
    use checkpoint::Checkpointable;

    #[derive(Checkpointable)]
    pub(crate) struct Account {
        id: u32,
        owner: String,
        orders: Vec<Order>,
        added: Vec<u8>,
    }

    #[derive(Checkpointable)]
    pub(crate) enum Order {
        Market,
        Limit {
            amount: u32,
            price: f64,
        },
        Split(Box<Order>),
        External {
            #[checkpoint(serde, version = 4)]
            by_serde: u64,
        },
        Stop,
    }
}

#[test]
fn differences_are_listed_by_field() {
    let differences = describe::<Account>().differences(&describe::<changed::Account>());
    let listed: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        listed,
        [
            "field `added`: expected no such field, found sequence of u8",
            "field `id`: expected u64, found u32",
            "field `owner`: expected option of string, found string",
            "field `orders[..].Limit`: expected the fields price, amount, found the fields amount, \
             price",
            "field `orders[..].Split.1`: expected enum, found no such field",
            "field `orders[..].Stop`: expected no such variant, found a variant",
            "field `orders[..].External.by_serde`: expected serde version 3, found serde version 4",
        ]
    );
    assert_eq!(describe::<Account>().differences(&describe::<renamed::Customer>()), []);
}

proptest! {
    #[test]
    fn two_descriptions_differ_exactly_if_their_fingerprints_do(
        left in 0_usize..8,
        right in 0_usize..8,
    ) {
        let all = [
            describe::<Account>(),
            describe::<changed::Account>(),
            describe::<Node>(),
            describe::<Outer>(),
            describe::<Vec<u8>>(),
            describe::<Option<u8>>(),
            describe::<[u8; 1]>(),
            describe::<(u8,)>(),
        ];
        let (left, right) = (&all[left], &all[right]);
        let same = left.differences(right).is_empty();
        prop_assert_eq!(left.fingerprint() == right.fingerprint(), same);
    }
}
