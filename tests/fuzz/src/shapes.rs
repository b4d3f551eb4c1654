//! Types of every shape that state may have.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroI128, NonZeroU8, Wrapping};
use std::ops::{Bound, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkpoint::Checkpointable;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

/// Structs in lists in structs, and itself.
#[derive(Checkpointable, Debug, PartialEq)]
pub struct Nested {
    id: u64,
    name: String,
    orders: Vec<Order>,
    pairs: BTreeMap<String, Vec<u16>>,
    last: Option<Box<Nested>>,
    flags: [Option<bool>; 3],
    #[transient(default)]
    cache: u64,
}

/// Variants of every kind, one with itself inside.
#[derive(Checkpointable, Debug, PartialEq)]
pub enum Order {
    Market,
    Limit { price: u64, tags: BTreeMap<char, bool> },
    Pair(i32, String),
    Several(Vec<Order>),
    Not(Box<Order>),
}

/// Containers whose order is of no meaning.
#[derive(Checkpointable, Debug, PartialEq)]
pub struct Unordered {
    map: HashMap<String, HashSet<u32>>,
    index: IndexMap<u16, Vec<u8>>,
    set: BTreeSet<(u8, Option<i64>)>,
}

/// A type that is nothing but itself.
#[derive(Checkpointable, Debug, PartialEq)]
pub struct Tree(Vec<Tree>);

/// Elements without bytes, and large ones of few.
#[derive(Checkpointable, Debug, PartialEq)]
pub struct Sizes {
    nothings: Vec<()>,
    empties: VecDeque<[u64; 0]>,
    large: Vec<Option<[u64; 64]>>,
    boxes: LinkedList<Box<[u8]>>,
    of_nothing: BTreeMap<(), u8>,
}

/// Types of std and of other crates that refuse some bytes.
#[derive(Checkpointable, Debug, PartialEq)]
pub struct Values {
    span: Duration,
    at: SystemTime,
    small: NonZeroU8,
    wide: NonZeroI128,
    wrapping: Wrapping<i16>,
    text: Arc<str>,
    short: SmolStr,
    path: PathBuf,
    os: OsString,
    c: CString,
    address: IpAddr,
    socket: SocketAddr,
    range: RangeInclusive<u8>,
    bound: Bound<char>,
    result: Result<u8, String>,
    uuid: Uuid,
    date: NaiveDateTime,
    with_offset: DateTime<FixedOffset>,
    delta: TimeDelta,
}

/// A heap is compared by what it holds.
#[derive(Checkpointable, Debug)]
pub struct Heap(BinaryHeap<Reverse<u16>>);

impl PartialEq for Heap {
    fn eq(&self, other: &Self) -> bool {
        self.0.clone().into_sorted_vec() == other.0.clone().into_sorted_vec()
    }
}

/// A field that goes through serde, between two that do not.
#[derive(Checkpointable, Debug, PartialEq)]
pub struct Serde {
    before: u8,
    #[checkpoint(serde, version = 1)]
    value: Value,
    after: String,
}

/// Every kind of thing that serde knows.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub enum Value {
    Unit,
    Number(i128),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Struct { a: Option<Box<Value>>, b: (u8, char, bool), c: [u16; 2] },
    Nothings(Vec<()>),
}
