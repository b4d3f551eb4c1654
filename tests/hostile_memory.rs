//! How much memory hostile bytes can make a decoder take (C7, C8, C9, K7): no more than the limit
//! says, whatever they claim.
//!
//! In a binary of its own, whose allocator counts; the tests take turns.

#![expect(clippy::indexing_slicing, reason = "the helpers of tests may panic")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use checkpoint::{
    Checkpointable, DecodeErrorKind, RandomSource, SchemaDescription, SeededRandom, StateLimits,
    decode_state, encode_state,
};
use checkpoint_tests::Quota;
use indexmap::{IndexMap, IndexSet};
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// One test at a time allocates.
static TURN: Mutex<()> = Mutex::new(());

/// What the limit does not count: errors, the harness of the tests.
const SLACK: usize = 256 << 10;

/// Waits for the tests that came before; to be held by each for as long as it runs.
fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something and returns how much more memory there was at its peak than before.
fn peak_of<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let result = work();
    (result, ALLOCATED.peak_usage().saturating_sub(before))
}

#[track_caller]
fn check_peak<T: Checkpointable>(bytes: &[u8], limits: &StateLimits) -> Option<DecodeErrorKind> {
    let (result, peak) = peak_of(|| decode_state::<T>(bytes, limits).map(drop));
    // Texts are as large as their encoding, and are not counted beside that.
    let allowed = limits.memory_bytes_max() + bytes.len() + SLACK;
    let name = std::any::type_name::<T>();
    assert!(peak <= allowed, "{name}: {peak} bytes for {} ({allowed} allowed)", bytes.len());
    result.err().map(|err| err.kind())
}

#[derive(Checkpointable)]
#[checkpoint(bound = "T: Serialize + serde::de::DeserializeOwned")]
struct BySerde<T> {
    #[checkpoint(serde, version = 1)]
    value: T,
}

/// Twelve bytes that claim an immense length, alone and in front of what might be elements.
#[track_caller]
fn check_claims<T: Checkpointable>(before: &[u8]) {
    for claimed in [1 << 20, 1 << 32, 1 << 48, 1 << 60, 1 << 63, u64::MAX - 1, u64::MAX] {
        for behind in [4, 100, 70_000] {
            let mut bytes = [before, &u64::to_le_bytes(claimed)].concat();
            bytes.resize(bytes.len() + behind, 0);
            // The length of a serde field is in front of it.
            if !before.is_empty() {
                let field = bytes.len() as u64 - 8;
                bytes[..8].copy_from_slice(&field.to_le_bytes());
            }
            let limits = StateLimits::DEFAULT;
            let (result, peak) = peak_of(|| decode_state::<T>(&bytes, &limits).map(drop));
            let name = std::any::type_name::<T>();
            let err = match result {
                Err(err) => err,
                Ok(()) => panic!("{name}: {claimed} elements were decoded"),
            };
            assert!(peak <= 4 * bytes.len() + SLACK, "{name}: {peak} bytes of memory: {err}");
            assert!(err.offset() <= bytes.len(), "{name}: {err}");
        }
    }
}

/// Checks types that are preceded by so many bytes.
macro_rules! check_claims {
    ($before:ident: $($type:ty,)*) => {
        $(check_claims::<$type>(&$before);)*
    };
}

/// C8.
#[test]
fn no_container_allocates_what_a_length_claims() {
    let _turn = alone();
    let nothing = [];
    check_claims!(nothing:
        Vec<u8>, Vec<u64>, Vec<String>, Vec<()>, Vec<[u8; 0]>, Vec<Option<[u64; 512]>>,
        Vec<Vec<Vec<u8>>>, VecDeque<u32>, LinkedList<u8>, BinaryHeap<u16>,
        Box<[u8]>, Box<[String]>, Arc<[u8]>, Rc<[u64]>, Cow<'static, [u8]>,
        HashMap<u8, u8>, HashMap<String, Vec<u8>>, HashSet<u64>, BTreeMap<u8, u8>,
        BTreeMap<String, ()>, BTreeSet<u64>, IndexMap<u8, u8>, IndexSet<String>,
        String, Box<str>, Arc<str>, Cow<'static, str>, SmolStr, PathBuf, OsString, CString,
        Bytes, BytesMut,
    );
    let length = [0; 8];
    check_claims!(length:
        BySerde<Vec<u8>>, BySerde<Vec<u64>>, BySerde<Vec<()>>, BySerde<Vec<String>>,
        BySerde<VecDeque<u32>>, BySerde<LinkedList<u8>>, BySerde<BinaryHeap<u16>>,
        BySerde<HashMap<u8, u8>>, BySerde<BTreeMap<String, u8>>, BySerde<HashSet<u64>>,
        BySerde<String>, BySerde<Box<str>>, BySerde<CString>,
    );
}

/// Elements of few bytes that need much memory.
#[track_caller]
fn check_bomb<T: Checkpointable>(element: &[u8]) {
    // A length that is right, and all the elements that there are.
    let count = 200_000;
    let mut bytes = (count as u64).to_le_bytes().to_vec();
    bytes.extend(element.repeat(count));
    for memory in [1 << 16, 1 << 20, 8 << 20] {
        check_peak::<T>(&bytes, &StateLimits::DEFAULT.with_memory_bytes_max(memory));
    }
}

/// C7: nothing is compressed, but a byte may stand for kilobytes.
#[test]
fn elements_that_are_larger_in_memory_than_in_bytes_stay_within_the_limit() {
    let _turn = alone();
    check_bomb::<Vec<Option<[u64; 512]>>>(&[0]);
    check_bomb::<VecDeque<Option<[u64; 512]>>>(&[0]);
    check_bomb::<LinkedList<Option<[u64; 512]>>>(&[0]);
    check_bomb::<Vec<Option<Box<[u64; 512]>>>>(&[[1; 1].to_vec(), vec![0; 4096]].concat()[..41]);
    check_bomb::<Vec<String>>(&[0; 8]);
    check_bomb::<Vec<Vec<Vec<u64>>>>(&[0; 8]);
    check_bomb::<Vec<BTreeMap<u64, u64>>>(&[0; 8]);
    // Each with one entry, for which a whole node is allocated.
    let one = [&1_u64.to_le_bytes()[..], &[7, 9]].concat();
    check_bomb::<Vec<BTreeMap<u8, u8>>>(&one);
    check_bomb::<Vec<HashMap<u8, u8>>>(&one);
    check_bomb::<Vec<HashMap<u8, [u8; 1]>>>(&one);
    check_bomb::<Vec<IndexMap<u8, u8>>>(&one);
    check_bomb::<Vec<BTreeSet<[u8; 2]>>>(&one);
    check_bomb::<Vec<LinkedList<[u8; 2]>>>(&one);
}

/// The same through serde, which hides how large values are: bounded by the number of bytes, each
/// of which may be a value. A list is doubled when it is full, and the old one is there meanwhile.
#[test]
fn serde_fields_need_no_more_than_a_value_for_each_byte() {
    let _turn = alone();
    #[track_caller]
    fn check<T: Serialize + serde::de::DeserializeOwned>(element: &[u8]) {
        let count = 20_000;
        let mut list = (count as u64).to_le_bytes().to_vec();
        list.extend(element.repeat(count));
        let bytes = [&(list.len() as u64).to_le_bytes()[..], &list].concat();
        let decode = |limits| peak_of(|| decode_state::<BySerde<Vec<T>>>(&bytes, &limits).is_ok());
        let (decoded, peak) = decode(StateLimits::DEFAULT);
        let allowed = 4 * count * (size_of::<T>() + element.len()) + SLACK;
        let name = std::any::type_name::<T>();
        assert!(decoded && peak <= allowed, "{name}: {peak} bytes ({allowed} allowed)");
        // Refused before anything is allocated.
        let limits = StateLimits::DEFAULT.with_memory_bytes_max(8 * list.len() - 1);
        let (decoded, peak) = decode(limits);
        assert!(!decoded && peak <= SLACK, "{name}: {peak} bytes");
    }
    check::<Option<[u64; 32]>>(&[0]);
    check::<Option<Wide>>(&[0]);
    check::<String>(&[0; 8]);
    check::<Vec<u64>>(&[0; 8]);
    check::<(u8, bool)>(&[0; 2]);
}

#[derive(Serialize, Deserialize)]
struct Wide {
    numbers: [[u64; 32]; 16],
}

#[derive(Checkpointable)]
struct Tree(Vec<Tree>);

#[derive(Checkpointable)]
struct Names(BTreeMap<String, Names>);

#[derive(Checkpointable)]
struct Table(HashMap<u8, Table>);

#[derive(Checkpointable)]
struct Chain(Option<Box<Chain>>);

#[derive(Checkpointable)]
struct Queue(VecDeque<Queue>);

#[derive(Checkpointable)]
struct Links(LinkedList<Links>);

#[derive(Checkpointable)]
struct Index(IndexMap<u8, Index>);

#[derive(Checkpointable)]
enum Formula {
    Zero,
    Not(Box<Formula>),
    And { left: Box<Formula>, right: Box<Formula> },
}

#[derive(Serialize, Deserialize)]
struct SerdeTree(Vec<SerdeTree>);

/// C9: by every way in which a type can contain itself.
#[test]
fn a_million_levels_are_an_error_and_little_memory() {
    let _turn = alone();
    #[track_caller]
    fn check<T: Checkpointable>(level: &[u8]) {
        let bytes = level.repeat(1_000_000);
        assert_eq!(
            check_peak::<T>(&bytes, &StateLimits::DEFAULT.with_memory_bytes_max(1 << 20)),
            Some(DecodeErrorKind::TooDeep),
            "{}",
            std::any::type_name::<T>()
        );
    }
    let one = 1_u64.to_le_bytes();
    check::<Tree>(&one);
    check::<Queue>(&one);
    check::<Links>(&one);
    check::<Names>(&[one, [0; 8]].concat());
    check::<Table>(&[&one[..], &[7]].concat());
    check::<Index>(&[&one[..], &[7]].concat());
    check::<Chain>(&[1]);
    check::<Formula>(&1_u32.to_le_bytes());
    check::<Formula>(&2_u32.to_le_bytes());
    let mut bytes = 8_000_000_u64.to_le_bytes().to_vec();
    bytes.extend(one.repeat(1_000_000));
    let (result, peak) =
        peak_of(|| decode_state::<BySerde<SerdeTree>>(&bytes, &StateLimits::DEFAULT).map(drop));
    assert_eq!(result.unwrap_err().kind(), DecodeErrorKind::TooDeep);
    assert!(peak <= 128 * (1 << 20) / 64, "{peak}");
}

#[derive(Checkpointable, Default)]
struct Anything {
    texts: Vec<String>,
    maps: Vec<BTreeMap<u8, Vec<u16>>>,
    table: HashMap<u16, Option<Box<Anything>>>,
    nothings: Vec<()>,
    boxes: LinkedList<Box<[bool; 3]>>,
    #[checkpoint(serde, version = 1)]
    by_serde: Vec<Option<Vec<String>>>,
}

/// C7, C8: states that were right once.
#[test]
fn states_with_any_bytes_changed_stay_within_the_limit() {
    let _turn = alone();
    let inner = Anything { nothings: vec![(); 5], ..Anything::default() };
    let state = Anything {
        texts: vec!["a".to_owned(); 20],
        maps: vec![BTreeMap::from([(1, vec![1, 2]), (2, vec![])]); 4],
        table: HashMap::from([(1, Some(Box::new(inner))), (2, None)]),
        nothings: vec![(); 3],
        boxes: LinkedList::from([Box::new([true; 3])]),
        by_serde: vec![Some(vec!["b".to_owned()]), None],
    };
    let sound = encode_state(&state, &StateLimits::DEFAULT).unwrap();
    let random = SeededRandom::new(3);
    let below = |limit: usize| usize::try_from(random.next_u64() % limit as u64).unwrap();
    let limits = StateLimits::DEFAULT.with_memory_bytes_max(1 << 20);
    for _ in 0..Quota::HOSTILE_INPUTS.get() {
        let mut bytes = sound.clone();
        for _ in 0..1 + below(4) {
            let at = below(bytes.len());
            bytes[at] = [0, 1, 0x7F, 0xFF, random.next_u64().to_le_bytes()[0]][below(5)];
        }
        bytes.truncate(1 + below(2 * bytes.len()));
        check_peak::<Anything>(&bytes, &limits);
    }
}

/// K7: a schema is stored beside the states, and is read from there.
#[test]
fn descriptions_of_schemas_allocate_what_their_bytes_can_hold() {
    let _turn = alone();
    let sound = SchemaDescription::of::<Anything>().to_bytes();
    for at in 0..sound.len() {
        for value in [0, 1, 0x7F, 0xFF] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            let (_, peak) = peak_of(|| SchemaDescription::from_bytes(&bytes).map(drop));
            assert!(peak <= 64 * bytes.len() + SLACK, "{peak} bytes for {}", bytes.len());
        }
    }
    // Four bytes that claim four billion nodes, fields, variants, characters.
    for before in [&[1][..], &[1, 1, 0, 0, 0, 6], &[1, 1, 0, 0, 0, 7], &[1, 1, 0, 0, 0, 0]] {
        for behind in [0, 100, 100_000] {
            let mut bytes = [before, &[0xFF; 4]].concat();
            bytes.resize(bytes.len() + behind, 0);
            let (result, peak) = peak_of(|| SchemaDescription::from_bytes(&bytes).map(drop));
            assert!(result.is_err() && peak <= bytes.len() + SLACK, "{peak}");
        }
    }
}

/// C7: a record of some hundred bytes that claims to have gigabytes in it, or really has more than
/// a state may have.
#[test]
fn a_bomb_takes_no_more_memory_than_a_state_may_have() {
    use checkpoint::storage::conformance;
    use checkpoint::{
        CheckpointId, CheckpointingConfig, CheckpointingMode, Compression, FetchVersion,
        InMemoryStorage, SafeKeeper, SaveOutcome,
    };

    const STATE_BYTES_MAX: usize = 4 << 20;
    let _turn = alone();
    let id = CheckpointId::new("texts", "bomb").unwrap();
    for compression in [Compression::Lz4, Compression::Zstd { level: 19 }] {
        let storage = InMemoryStorage::new();
        let open = |state_bytes_max: usize| {
            let keeper = SafeKeeper::builder(storage.clone()).compression(compression);
            let keeper = keeper.build().unwrap();
            let config = CheckpointingConfig::builder(CheckpointingMode::None)
                .state_bytes_max(state_bytes_max as u64)
                .build()
                .unwrap();
            let texts = keeper.prototype::<String, String>("texts").config(config);
            let texts = texts.create(|_| String::new()).build().unwrap();
            (keeper, texts)
        };
        let (keeper, texts) = open(32 << 20);
        texts.process("bomb", |state| *state = "0".repeat(16 << 20)).unwrap();
        texts.checkpoint("bomb").unwrap().wait().unwrap();
        drop((keeper, texts));
        let sound = conformance::fetch(&storage, &id, FetchVersion::Newest).unwrap().unwrap();
        let raw = u32::try_from((16 << 20) + 8).unwrap().to_le_bytes();
        let at = sound.windows(4).position(|bytes| bytes == raw).unwrap();
        let header_end = checkpoint::RecordHeader::parse(&sound).unwrap().header_bytes() - 4;
        // As it is; and with the length of something else.
        for (epoch, claimed) in [(0, None), (200, Some(u32::MAX)), (201, Some(4 << 20))] {
            let mut bomb = sound.clone();
            if let Some(claimed) = claimed {
                bomb[at..at + 4].copy_from_slice(&u32::to_le_bytes(claimed));
                bomb[24] = epoch; // A newer version than what is there.
                let crc = crc32c::crc32c(&bomb[..header_end]).to_le_bytes();
                bomb[header_end..header_end + 4].copy_from_slice(&crc);
                let end = bomb.len() - 4;
                let crc = crc32c::crc32c(&bomb[..end]).to_le_bytes();
                bomb[end..].copy_from_slice(&crc);
                let outcomes = conformance::save(&storage, &[bomb]);
                assert!(matches!(outcomes[..], [SaveOutcome::Stored]), "{outcomes:?}");
            }
            let (keeper, texts) = open(STATE_BYTES_MAX);
            let (result, peak) = peak_of(|| texts.read("bomb", String::len));
            assert!(result.is_err(), "{compression:?}, {claimed:?}");
            // The decoder of zstd needs some memory of its own.
            let allowed = STATE_BYTES_MAX + sound.len() + 2 * SLACK;
            assert!(peak <= allowed, "{compression:?}, {claimed:?}: {peak} bytes");
            drop((keeper, texts));
        }
    }
}
