//! What encoding and restoring cost, against a bare copy and against bincode 1.3.3 through serde.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use checkpoint::{Checkpointable, Encoder, StateLimits, restore_state};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Six numbers and three texts.
#[derive(Checkpointable, Serialize, Deserialize, Clone, Default)]
struct Small {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    name: String,
    city: String,
    note: Option<String>,
}

/// A small state with numbers and structs.
#[derive(Checkpointable, Serialize, Deserialize, Clone, Default)]
struct Mid {
    small: Small,
    numbers: Vec<f64>,
    orders: Vec<Order>,
}

#[derive(Checkpointable, Serialize, Deserialize, Clone, Default)]
struct Order {
    id: u32,
    price: f64,
    amount: u32,
    is_open: bool,
}

/// A middle state with a map.
#[derive(Checkpointable, Serialize, Deserialize, Clone, Default)]
struct Full {
    mid: Mid,
    counts: HashMap<String, u64>,
}

/// Nothing but bytes.
#[derive(Checkpointable, Serialize, Deserialize, Clone, Default)]
struct Bytes {
    bytes: Vec<u8>,
}

fn small() -> Small {
    Small {
        a: 1,
        b: 2,
        c: 3,
        d: 4,
        e: 5,
        f: 6,
        name: "a name of a user".to_owned(),
        city: "the city".to_owned(),
        note: Some("note".to_owned()),
    }
}

fn mid() -> Mid {
    let order = |id| Order { id, price: f64::from(id) / 3.0, amount: id, is_open: id % 2 == 0 };
    Mid {
        small: small(),
        numbers: (0..1000).map(f64::from).collect(),
        orders: (0..60).map(order).collect(),
    }
}

fn full() -> Full {
    let counts = (0..1000).map(|n| (format!("the key {n}"), n)).collect();
    Full { mid: mid(), counts }
}

fn main() {
    let mut table =
        String::from("shape   bytes  way      ours ns  bincode 1.3.3  ratio  memcpy ns  ratio\n");
    row(&mut table, "Small", &small());
    row(&mut table, "Mid", &mid());
    row(&mut table, "Full", &full());
    row(&mut table, "Bytes", &Bytes { bytes: (0..=255).cycle().take(8192).collect() });
    #[expect(clippy::print_stdout, reason = "a bench is there to print")]
    {
        println!("{table}");
    }
}

fn row<T>(table: &mut String, name: &str, state: &T)
where
    T: Checkpointable + Serialize + DeserializeOwned + Default,
{
    let limits = StateLimits::default();
    let mut buffer = Some(Vec::new());
    let mut baseline = Vec::new();
    let encoded = checkpoint::encode_state(state, &limits).unwrap();
    let mut copied = Vec::with_capacity(encoded.len());
    let [ours, theirs, memcpy] = medians([
        &mut || {
            let mut bytes = buffer.take().unwrap();
            bytes.clear();
            let mut encoder = Encoder::new(bytes, &limits);
            black_box(state).encode(&mut encoder).unwrap();
            buffer = Some(black_box(encoder.into_bytes()));
        },
        &mut || {
            baseline.clear();
            bincode1::serialize_into(&mut baseline, black_box(state)).unwrap();
            black_box(&baseline);
        },
        &mut || {
            copied.clear();
            copied.extend_from_slice(black_box(&encoded));
            black_box(&copied);
        },
    ]);
    line(table, name, encoded.len(), "encode", [ours, theirs, memcpy]);

    let mut restored = T::default();
    let mut baseline_restored = T::default();
    let [ours, theirs, memcpy] = medians([
        &mut || {
            restore_state(&mut restored, black_box(&encoded), &limits).unwrap();
            black_box(&restored);
        },
        &mut || {
            baseline_restored = bincode1::deserialize(black_box(&encoded)).unwrap();
            black_box(&baseline_restored);
        },
        &mut || {
            copied.clear();
            copied.extend_from_slice(black_box(&encoded));
            black_box(&copied);
        },
    ]);
    line(table, name, encoded.len(), "restore", [ours, theirs, memcpy]);
}

fn line(table: &mut String, name: &str, bytes: usize, way: &str, times: [f64; 3]) {
    let [ours, theirs, memcpy] = times;
    writeln!(
        table,
        "{name:6} {bytes:6}  {way:7} {ours:8.1} {theirs:14.1} {:6.2} {memcpy:10.1} {:6.2}",
        ours / theirs,
        ours / memcpy,
    )
    .unwrap();
}

/// The median time of one call of each, in nanoseconds; the runs take turns.
#[expect(clippy::disallowed_methods, reason = "a bench measures the real time")]
fn medians<const N: usize>(mut calls: [&mut dyn FnMut(); N]) -> [f64; N] {
    const RUNS: usize = 61;
    let start = Instant::now();
    calls.iter_mut().for_each(|call| call());
    // So many calls that one run takes about two milliseconds.
    let once = start.elapsed().as_nanos().max(1);
    let count = (6_000_000 / once).clamp(10, 100_000);
    let mut times = [(); N].map(|()| Vec::new());
    for _ in 0..RUNS {
        for (call, times) in calls.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (0..count).for_each(|_| call());
            times.push(start.elapsed().as_nanos() as f64 / count as f64);
        }
    }
    times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times.get(RUNS / 2).copied().unwrap()
    })
}
