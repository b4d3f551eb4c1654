//! Keys of every kind name PEs of their own, over restarts, and up to the longest.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use checkpoint::{
    DefaultFileSystemStateStorage, InMemoryStorage, KEY_BYTES_MAX, Key, KeyBytes, NotAKey,
    PePrototype, ProcessError, SafeKeeper, StateStorage,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::manual;

const SECONDS: Duration = Duration::from_secs(20);

fn numbers<K: Key>(keeper: &SafeKeeper) -> PePrototype<K, u64> {
    let builder = keeper.prototype("numbers").config(manual().build().unwrap());
    builder.create(|_: &K| 0).build().unwrap()
}

/// Gives each key a number, and looks for it after a restart.
#[track_caller]
fn check<K: Key + Debug + Ord>(keys: BTreeSet<K>) {
    let storage = InMemoryStorage::new();
    let open = || SafeKeeper::builder(storage.clone()).build().unwrap();
    let keeper = open();
    let of_keeper = numbers::<K>(&keeper);
    for (number, key) in (1..).zip(&keys) {
        assert_eq!(of_keeper.process(key, |n| std::mem::replace(n, number)).unwrap(), 0, "{key:?}");
    }
    keeper.close(SECONDS).unwrap();
    let keeper = open();
    let of_keeper = numbers::<K>(&keeper);
    assert_eq!(of_keeper.keys().unwrap().into_iter().collect::<BTreeSet<_>>(), keys);
    for (number, key) in (1..).zip(&keys) {
        assert_eq!(of_keeper.read(key, |n| *n).unwrap(), number, "{key:?}");
    }
}

fn some<T: Debug + Ord>(one: impl Strategy<Value = T>) -> impl Strategy<Value = BTreeSet<T>> {
    proptest::collection::btree_set(one, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_key_is_found_again(
        strings in some(any::<String>()),
        bytes in some(any::<Vec<u8>>()),
        unsigned in some(any::<u64>()),
        signed in some(any::<i128>()),
        bools in some(any::<bool>()),
        chars in some(any::<char>()),
        uuids in some(any::<[u8; 16]>().prop_map(Uuid::from_bytes)),
        pairs in some(any::<(String, Vec<u8>)>()),
        triples in some(any::<(u8, String, char)>()),
        quadruples in some((any::<[u8; 16]>().prop_map(Uuid::from_bytes), any::<(bool, i64)>())
            .prop_map(|(uuid, (flag, number))| (uuid, flag, number, String::new()))),
        own in some((any::<u16>(), any::<String>())
            .prop_map(|(area, name)| Device { area, name })),
    ) {
        check(strings);
        check(bytes);
        check(unsigned);
        check(signed);
        check(bools);
        check(chars);
        check(uuids);
        check(pairs);
        check(triples);
        check(quadruples);
        check(own);
    }
}

/// A key of one's own, which forwards to a tuple.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Device {
    area: u16,
    name: String,
}

impl KeyBytes for Device {
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        (self.area, self.name.clone()).with_key_bytes(f)
    }
}

impl Key for Device {
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        <(u16, String)>::from_key_bytes(bytes).map(|(area, name)| Self { area, name })
    }

    fn key_type() -> String {
        <(u16, String)>::key_type()
    }
}

#[track_caller]
fn check_longest(storage: impl StateStorage + 'static) {
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let of_keeper = numbers::<Vec<u8>>(&keeper);
    let longest = vec![b'x'; KEY_BYTES_MAX];
    for length in [KEY_BYTES_MAX - 1, KEY_BYTES_MAX] {
        of_keeper.process(&longest[..length], |n| *n = length as u64).unwrap();
    }
    let too_long = [&longest[..], b"x"].concat();
    let refused = of_keeper.process(&too_long, |_| ()).unwrap_err();
    assert!(matches!(refused, ProcessError::InvalidKey { .. }), "{refused}");
    let refused = pollster::block_on(of_keeper.process_async(&too_long, |_| ())).unwrap_err();
    assert!(matches!(refused, ProcessError::InvalidKey { .. }), "{refused}");
    let refused = of_keeper.session().run([(&too_long, ())], |_, ()| ()).unwrap_err();
    assert!(matches!(refused.error, ProcessError::InvalidKey { .. }), "{refused}");
    for refused in [
        of_keeper.pe(&too_long).map(drop).unwrap_err(),
        of_keeper.checkpoint(&too_long).map(drop).unwrap_err(),
        of_keeper.remove(&too_long).map(drop).unwrap_err(),
        of_keeper.reset(&too_long).map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, ProcessError::InvalidKey { .. }), "{refused}");
    }
    assert_eq!(keeper.close(SECONDS).unwrap().saved, 2);
}

#[test]
fn the_longest_key_is_stored_and_a_longer_one_refused_by_every_way_in() {
    check_longest(InMemoryStorage::new());
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    check_longest(DefaultFileSystemStateStorage::open(&root).unwrap());
    let keeper =
        SafeKeeper::builder(DefaultFileSystemStateStorage::open(&root).unwrap()).build().unwrap();
    let of_keeper = numbers::<Vec<u8>>(&keeper);
    for length in [KEY_BYTES_MAX - 1, KEY_BYTES_MAX] {
        let key = vec![b'x'; length];
        assert_eq!(of_keeper.read(&key, |n| *n).unwrap(), length as u64);
    }
}
