//! The bytes are those of bincode 1.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::num::{NonZeroI16, NonZeroU64, Wrapping};
use std::ops::{Bound, Range, RangeInclusive};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkpoint::{Checkpointable, StateLimits, encode_state};
use serde::Serialize;

#[track_caller]
fn check<T: Checkpointable + Serialize + Debug>(value: &T) {
    let ours = encode_state(value, &StateLimits::default()).unwrap();
    let theirs = bincode::serde::encode_to_vec(value, bincode::config::legacy()).unwrap();
    assert_eq!(ours, theirs, "{value:?}");
    assert_eq!(theirs, bincode1::serialize(value).unwrap(), "{value:?}");
    assert!(ours.len() >= T::MIN_SIZE, "{value:?}");
}

#[derive(Checkpointable, Serialize, Debug)]
struct Named<T> {
    number: u64,
    list: Vec<T>,
    text: Option<String>,
    nested: Tuple,
}

#[derive(Checkpointable, Serialize, Debug, Default)]
struct Tuple(u8, i128, bool);

#[derive(Checkpointable, Serialize, Debug)]
struct Unit;

#[derive(Checkpointable, Serialize, Debug)]
enum Event {
    Nothing,
    One(u16),
    Two(String, char),
    Named { tuple: Tuple, list: Vec<Event> },
}

#[test]
fn primitives_have_the_layout_of_bincode_1() {
    check(&(1_u8, 2_u16, 3_u32, 4_u64, 5_u128, 6_usize));
    check(&(-1_i8, -2_i16, -3_i32, -4_i64, -5_i128, -6_isize));
    check(&(1.5_f32, -0.0_f64, true, false, ()));
    check(&['a', 'é', '€', '🦀']);
    check(&(NonZeroU64::MIN, NonZeroI16::MAX, Wrapping(7_u32)));
    check(&[1_u64, 2, 3]);
    check(&[Tuple(1, 2, true), Tuple(3, 4, false)]);
    check(&[(1_u8, [2_u16, 3]), (4, [5, 6])].to_vec());
}

#[test]
fn texts_and_containers_have_the_layout_of_bincode_1() {
    check(&"text é".to_owned());
    check(&(Box::<str>::from("a"), Arc::<str>::from("b"), Rc::<str>::from("c")));
    check(&(vec![1_u8, 2], vec![1.0_f64], vec![true, false], vec!["x".to_owned()]));
    check(&(VecDeque::from([1, 2]), LinkedList::from([3]), BinaryHeap::from([4])));
    check(&(HashMap::from([(1_u8, "one".to_owned())]), HashSet::from([2_u16])));
    check(&(BTreeMap::from([(1_u8, 2_u64), (3, 4)]), BTreeSet::from(['a', 'b'])));
    check(&(Some(1_u8), None::<u8>, Ok::<u8, ()>(1), Err::<(), _>("no".to_owned())));
    check(&(Box::new(1_u8), Arc::new(2_u16), Rc::new(3_u32), Box::<[u8]>::from([4])));
    check(&std::borrow::Cow::Borrowed("text"));
    check(&std::borrow::Cow::Borrowed([1_u32, 2].as_slice()));
}

#[test]
fn other_types_of_std_have_the_layout_of_bincode_1() {
    check(&(Duration::new(3, 4), SystemTime::UNIX_EPOCH + Duration::new(5, 6)));
    check(&(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, IpAddr::from([1, 2, 3, 4])));
    check(&SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80)));
    check(&PathBuf::from("/a/b"));
    check(&std::ffi::CString::new("text").unwrap());
    check(&(Range { start: 1, end: 2 }, RangeInclusive::new('a', 'b')));
    check(&(Bound::Included(1_u8), Bound::Excluded(2_u8), Bound::<u8>::Unbounded));
    #[cfg(unix)]
    check(&std::ffi::OsString::from("text"));
}

#[test]
fn derived_types_have_the_layout_of_bincode_1() {
    let text = Some("text".to_owned());
    check(&Named { number: 1, list: vec![2_i16], text, nested: Tuple::default() });
    check(&Named { number: 1, list: Vec::<Unit>::new(), text: None, nested: Tuple(1, 2, true) });
    check(&Unit);
    check(&[Event::Nothing, Event::One(1), Event::Two("x".to_owned(), 'y')]);
    check(&Event::Named { tuple: Tuple::default(), list: vec![Event::One(1)] });
}

#[test]
fn types_of_other_crates_have_the_layout_of_bincode_1() {
    check(&(bytes::Bytes::from_static(b"abc"), bytes::BytesMut::from("def")));
    check(&smol_str::SmolStr::new("text"));
    check(&indexmap::IndexMap::<_, _>::from([(1_u8, 2_u16), (3, 4)]));
    check(&indexmap::IndexSet::<_>::from([1_u8, 2]));
}
