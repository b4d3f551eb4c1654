//! Whatever is encoded can be restored: every type, with any values.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::{NonZeroI128, NonZeroU32, NonZeroUsize, Saturating, Wrapping};
use std::ops::{Bound, Range, RangeInclusive};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use checkpoint::{
    Checkpointable, EncodeErrorKind, Rebuild, StateLimits, check_round_trip, decode_state,
    encode_state, restore_state,
};
use chrono::{
    DateTime, FixedOffset, Month, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike, Utc,
    Weekday,
};
use indexmap::{IndexMap, IndexSet};
use proptest::collection::{btree_map, btree_set, hash_map, hash_set, vec};
use proptest::prelude::*;
use smol_str::SmolStr;
use uuid::Uuid;

const LIMITS: StateLimits = StateLimits::DEFAULT;

/// Encodes and decodes, made anew and in place; returns the former.
#[track_caller]
fn restored<T: Rebuild>(value: &T, mut other: T) -> (T, T) {
    let bytes = encode_state(value, &LIMITS).unwrap();
    assert!(bytes.len() >= T::MIN_SIZE);
    restore_state(&mut other, &bytes, &LIMITS).unwrap();
    check_round_trip(value, &LIMITS).unwrap();
    let anew = T::rebuild(decode_state::<T>(&bytes, &LIMITS).unwrap());
    assert_eq!(encode_state(&anew, &LIMITS).unwrap().len(), bytes.len());
    (anew, other)
}

#[track_caller]
fn check<T: Rebuild + PartialEq + Debug>(value: T, other: T) {
    let (anew, in_place) = restored(&value, other);
    assert_eq!(anew, value);
    assert_eq!(in_place, value);
}

/// One property per type: two values of it, one restored into the other.
macro_rules! round_trips {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $name(value in $strategy, other in $strategy) {
                    check(value, other);
                }
            )*
        }
    };
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn nanos() -> Range<u32> {
    0..1_000_000_000
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), nanos()).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn system_time() -> impl Strategy<Value = SystemTime> {
    (0_u64..1 << 40, nanos())
        .prop_map(|(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

fn date() -> impl Strategy<Value = NaiveDate> {
    (-90_000_000_i32..90_000_000).prop_filter_map("a day", NaiveDate::from_num_days_from_ce_opt)
}

// Leap seconds anywhere: chrono lets one make them.
fn time_of_day() -> impl Strategy<Value = NaiveTime> {
    (0_u32..86_400, 0_u32..2_000_000_000).prop_filter_map("a time", |(seconds, nanos)| {
        NaiveTime::from_num_seconds_from_midnight_opt(seconds, 0)?.with_nanosecond(nanos)
    })
}

fn date_time() -> impl Strategy<Value = NaiveDateTime> {
    (date(), time_of_day()).prop_map(|(date, time)| NaiveDateTime::new(date, time))
}

fn utc() -> impl Strategy<Value = DateTime<Utc>> {
    date_time().prop_map(|time| time.and_utc())
}

fn with_offset() -> impl Strategy<Value = DateTime<FixedOffset>> {
    (-86_399..86_400, -1_i64 << 40..1 << 40).prop_map(|(offset, seconds)| {
        let time = DateTime::from_timestamp(seconds, 5).unwrap();
        time.with_timezone(&FixedOffset::east_opt(offset).unwrap())
    })
}

fn time_delta() -> impl Strategy<Value = TimeDelta> {
    let range = i64::MIN / 1000..i64::MAX / 1000;
    (range, nanos()).prop_filter_map("a delta", |(seconds, nanos)| TimeDelta::new(seconds, nanos))
}

fn socket_v6() -> impl Strategy<Value = SocketAddrV6> {
    any::<(Ipv6Addr, u16, u32, u32)>()
        .prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(ip, port, flow, scope))
}

fn os_string() -> impl Strategy<Value = OsString> {
    use std::os::unix::ffi::OsStringExt;
    any::<Vec<u8>>().prop_map(OsString::from_vec)
}

round_trips! {
    unsigned_integers: any::<(u8, u16, u32, u64, u128, usize)>();
    signed_integers: any::<(i8, i16, i32, i64, i128, isize)>();
    floats: (prop::num::f32::NORMAL, prop::num::f64::NORMAL);
    others: any::<(bool, char, ())>();
    texts: text();
    shared_texts: text().prop_map(|text| {
        (Box::<str>::from(&*text), Arc::<str>::from(&*text), Rc::<str>::from(&*text))
    });
    c_strings: vec(1_u8.., 0..9).prop_map(|bytes| CString::new(bytes).unwrap());
    os_strings: os_string();
    paths: text().prop_map(PathBuf::from);
    options: any::<Option<Option<String>>>();
    results: any::<Result<u8, String>>();
    tuples: any::<((u8,), (u8, String), (u8, u8, u8), [String; 3])>();
    long_tuples: any::<[u16; 10]>().prop_map(|[a, b, c, d, e, f, g, h, i, j]| {
        (a, b, c, d, e, f, g, h, i, j, Cell::new(1_u8), 2_u8)
    });
    arrays: any::<([u64; 5], [bool; 3], [char; 2], [(u8, u16); 2], [[u16; 2]; 2], [u8; 0])>();
    byte_vectors: any::<Vec<u8>>();
    number_vectors: any::<(Vec<u64>, Vec<i16>, Vec<u128>, Vec<usize>)>();
    bool_vectors: any::<(Vec<bool>, Vec<char>, Vec<()>)>();
    text_vectors: vec(vec(any::<String>(), 0..9), 0..9);
    tuple_vectors: any::<Vec<(u8, bool, [i32; 2])>>();
    deques: (any::<VecDeque<u32>>(), 0_usize..9).prop_map(|(mut deque, count)| {
        // With a break somewhere inside.
        for _ in 0..count.min(deque.len()) {
            let last = deque.pop_back();
            deque.extend(last);
            deque.rotate_right(1);
        }
        deque
    });
    linked_lists: any::<LinkedList<String>>();
    boxed_slices: any::<Vec<String>>().prop_map(|list| {
        (Box::<[String]>::from(&*list), Arc::<[String]>::from(&*list), Rc::<[String]>::from(&*list))
    });
    pointers: any::<u64>().prop_map(|n| {
        (Box::new(n), Arc::new(n), Rc::new(n), Box::new(Box::new(n)))
    });
    hash_maps: hash_map(text(), any::<u64>(), 0..9);
    hash_sets: hash_set(any::<(u8, char)>(), 0..9);
    btree_maps: btree_map(any::<Option<u8>>(), text(), 0..9);
    btree_sets: btree_set(text(), 0..9);
    nested_maps: hash_map(any::<u8>(), hash_map(text(), any::<Vec<u8>>(), 0..4), 0..4);
    index_maps: vec((any::<u8>(), text()), 0..9).prop_map(IndexMap::<_, _>::from_iter);
    index_sets: vec(any::<u8>(), 0..9).prop_map(IndexSet::<_>::from_iter);
    non_zero: any::<(NonZeroU32, NonZeroI128, NonZeroUsize)>();
    wrappers: any::<u8>().prop_map(|n| (Wrapping(n), Saturating(n), Reverse(n), RefCell::new(n)));
    cows: text().prop_map(|text| {
        (Cow::<str>::Owned(text.clone()), Cow::<[u8]>::Owned(text.into()))
    });
    ranges: any::<(Range<u8>, RangeInclusive<char>)>();
    bounds: any::<u8>().prop_map(|n| {
        (Bound::Included(n), Bound::Excluded(n), Bound::<u8>::Unbounded)
    });
    durations: duration();
    system_times: system_time();
    addresses: any::<(Ipv4Addr, Ipv6Addr, IpAddr)>();
    socket_addresses: (any::<SocketAddr>(), socket_v6());
    uuids: any::<[u8; 16]>().prop_map(Uuid::from_bytes);
    small_texts: text().prop_map(SmolStr::from);
    byte_strings: any::<Vec<u8>>().prop_map(|bytes| (BytesMut::from(&*bytes), Bytes::from(bytes)));
    dates: date();
    times_of_day: time_of_day();
    dates_and_times: date_time();
    utc_times: utc();
    times_with_offset: with_offset();
    time_deltas: time_delta();
    weekdays: (0_u8..7).prop_map(|n| Weekday::try_from(n).unwrap());
    months: (1_u8..13).prop_map(|n| Month::try_from(n).unwrap());
}

#[test]
fn floats_keep_every_bit() {
    let bits = [f64::NAN.to_bits() | 5, (-0.0_f64).to_bits(), f64::INFINITY.to_bits(), 1];
    let state: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
    let (anew, _) = restored(&state, vec![]);
    assert_eq!(anew.iter().map(|number| number.to_bits()).collect::<Vec<_>>(), bits);
}

#[test]
fn the_extremes_of_times_are_kept() {
    check(TimeDelta::MIN, TimeDelta::MAX);
    check(TimeDelta::MAX, TimeDelta::MIN);
    check(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    check(DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC);
    check(NaiveDate::MIN, NaiveDate::MAX);
    check(NaiveDate::MAX, NaiveDate::MIN);
    check(Duration::MAX, Duration::ZERO);
}

#[test]
fn a_heap_keeps_its_elements() {
    let (anew, _) = restored(&BinaryHeap::from([3, 1, 2]), BinaryHeap::new());
    assert_eq!(anew.into_sorted_vec(), [1, 2, 3]);
}

#[track_caller]
fn check_unsupported<T: Checkpointable>(state: &T) {
    let err = encode_state(state, &LIMITS).unwrap_err();
    assert_eq!(err.kind(), EncodeErrorKind::Unsupported, "{err}");
}

#[test]
fn values_that_would_come_back_as_others_are_refused() {
    check_unsupported(&(SystemTime::UNIX_EPOCH - Duration::from_secs(1)));
    let mut used_up = 1..=2_u8;
    let _ = used_up.by_ref().count();
    check_unsupported(&used_up);
    let borrowed = RefCell::new(1);
    let guard = borrowed.borrow_mut();
    check_unsupported(&borrowed);
    drop(guard);
    use std::os::unix::ffi::OsStringExt;
    check_unsupported(&PathBuf::from(OsString::from_vec(vec![0xff])));
}

#[test]
fn shared_values_are_replaced_and_not_changed() {
    let bytes = encode_state(&Arc::new(1_u64), &LIMITS).unwrap();
    let mut state = Arc::new(2_u64);
    let other = Arc::clone(&state);
    restore_state(&mut state, &bytes, &LIMITS).unwrap();
    assert_eq!((*state, *other), (1, 2));
}

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn what_is_handed_between_threads_is_send_and_sync() {
    is_send_and_sync::<checkpoint::EncodeError>();
    is_send_and_sync::<checkpoint::DecodeError>();
    is_send_and_sync::<checkpoint::Encoder>();
    is_send_and_sync::<checkpoint::Decoder<'_>>();
    is_send_and_sync::<checkpoint::SchemaDescription>();
    is_send_and_sync::<checkpoint::SchemaDifference>();
    is_send_and_sync::<StateLimits>();
    is_send_and_sync::<<Vec<Option<Box<String>>> as Checkpointable>::Staged>();
}

#[test]
fn sets_and_maps_of_any_hasher_are_kept() {
    type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
    let map: HashMap<u8, u8, Hasher> = [(1, 2), (3, 4)].into_iter().collect();
    check(map, HashMap::default());
    let set: HashSet<u8, Hasher> = [1, 2].into_iter().collect();
    check(set, HashSet::default());
    check(BTreeMap::from([(1, BTreeSet::from([2]))]), BTreeMap::new());
}
