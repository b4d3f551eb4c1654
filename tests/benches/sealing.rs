//! What compressing and encrypting costs, and saves: time and bytes for each save through the whole
//! keeper into memory, and for each restore.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]

use std::time::{Duration, Instant};

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, Compression, EncryptionKey,
    EncryptionKeys, InMemoryStorage, PePrototype, SafeKeeper, StateLimits, ZstdDictionary,
    encode_state,
};

/// A user, as many services keep one.
#[derive(Checkpointable, Clone, Default)]
struct User {
    visits: u64,
    name: String,
    mail: String,
    tags: Vec<String>,
    recent: Vec<u64>,
}

fn user(number: u64, recent: u64) -> User {
    // As if drawn, but the same in each run.
    let noise = |n: u64| (number * 1_000 + n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    User {
        visits: 0,
        name: format!("user number {number}"),
        mail: format!("user.{}@mail.example.com", noise(0)),
        tags: (0..4).map(|n| format!("interested-in-{}", noise(n) % 50)).collect(),
        recent: (0..recent).map(|n| 1_767_225_600 + noise(n) % 86_400).collect(),
    }
}

type Way = (&'static str, Compression, bool, bool);

const WAYS: [Way; 8] = [
    ("as it is", Compression::None, false, false),
    ("lz4", Compression::Lz4, false, false),
    ("zstd 1", Compression::Zstd { level: 1 }, false, false),
    ("zstd 3", Compression::Zstd { level: 3 }, false, false),
    ("zstd 3, dictionary", Compression::Zstd { level: 3 }, true, false),
    ("encrypted", Compression::None, false, true),
    ("lz4, encrypted", Compression::Lz4, false, true),
    ("zstd 3, dictionary, encrypted", Compression::Zstd { level: 3 }, true, true),
];

#[expect(clippy::print_stdout, reason = "a bench is there to print")]
fn main() {
    println!("state  bytes  way                             bytes/save  ns/save  ns/restore");
    for (recent, users) in [(4_u64, 20_000_u64), (1_000, 2_000)] {
        let limits = StateLimits::default();
        let samples: Vec<_> =
            (0..2_000).map(|n| encode_state(&user(1_000_000 + n, 4), &limits).unwrap()).collect();
        let dictionary = ZstdDictionary::train(&samples, 32 * 1024).unwrap();
        let bytes = encode_state(&user(1, recent), &limits).unwrap().len();
        for way in WAYS {
            let (per_save, save, restore) = measure(way, &dictionary, recent, users);
            println!("User   {bytes:5}  {:30}  {per_save:10}  {save:7.0}  {restore:10.0}", way.0);
        }
    }
}

fn open(way: Way, storage: &InMemoryStorage) -> SafeKeeper {
    let builder = SafeKeeper::builder(storage.clone()).compression(way.1);
    let keys = EncryptionKeys::new(EncryptionKey::new(1, [7; 32]));
    let builder = if way.3 { builder.encryption(keys) } else { builder };
    builder.build().unwrap()
}

fn users(keeper: &SafeKeeper, way: Way, dictionary: &ZstdDictionary) -> PePrototype<u64, User> {
    let config = CheckpointingConfig::builder(CheckpointingMode::None);
    let config = if way.2 { config.dictionary(dictionary.clone()) } else { config };
    let builder = keeper.prototype("user").config(config.build().unwrap());
    builder.create(|_| User::default()).build().unwrap()
}

/// Bytes for each save; nanoseconds for each save and each restore, the medians of some rounds.
#[expect(clippy::disallowed_methods, reason = "a bench measures the real time")]
fn measure(way: Way, dictionary: &ZstdDictionary, recent: u64, count: u64) -> (u64, f64, f64) {
    let storage = InMemoryStorage::new();
    let keeper = open(way, &storage);
    let of_keeper = users(&keeper, way, dictionary);
    for number in 0..count {
        of_keeper.process(number, |state| *state = user(number, recent)).unwrap();
    }
    let minute = Duration::from_secs(60);
    of_keeper.flush(minute).unwrap();
    let mut saves = Vec::new();
    for _ in 0..7 {
        for number in 0..count {
            of_keeper.process(number, |state| state.visits += 1).unwrap();
        }
        let start = Instant::now();
        keeper.flush(minute).unwrap();
        saves.push(start.elapsed().as_nanos() as f64 / count as f64);
    }
    let stats = keeper.stats();
    let per_save = stats.stored_bytes / stats.stored;
    let mut restores = Vec::new();
    for _ in 0..5 {
        for number in 0..count {
            of_keeper.evict(number).unwrap();
        }
        let start = Instant::now();
        for number in 0..count {
            of_keeper.read(number, |state| std::hint::black_box(state.visits)).unwrap();
        }
        restores.push(start.elapsed().as_nanos() as f64 / count as f64);
    }
    let median = |mut times: Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap()
    };
    (per_save, median(saves), median(restores))
}
