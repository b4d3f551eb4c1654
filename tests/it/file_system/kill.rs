//! A process is killed at random instants while it saves: what it acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use checkpoint::{RandomSource, RecordView, SeededRandom, StateStorage, StateVersion};
use checkpoint_tests::{Quota, first_seed};

use super::{fetch, id, open};

/// The keys that the process saves, from 0 on.
const KEYS: u64 = 50;

/// What the process is doing when it is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Opening,
    Saving,
}

/// Lets a process save until it is killed, and notes what it acknowledged; returns how much that
/// was.
fn run_and_kill(
    root: &Path,
    seed: u64,
    when: When,
    random: &SeededRandom,
    acked: &mut BTreeMap<u64, StateVersion>,
) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_save_loop"))
        .args([root.to_str().unwrap(), &seed.to_string(), "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let (tx, rx) = mpsc::channel();
    let reader = std::thread::Builder::new().spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                break;
            }
        }
    });
    // Some are killed while they open the store, the others after some acknowledgements.
    let mut lines = Vec::new();
    if when == When::Saving {
        for _ in 0..2 + random.next_u64() % 30 {
            lines.extend(rx.recv_timeout(Duration::from_secs(20)));
        }
    }
    // The instant is what is random here; nothing is waited for.
    let micros = random.next_u64() % 8_000;
    let (_never, nothing) = mpsc::channel::<()>();
    nothing.recv_timeout(Duration::from_micros(micros)).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    reader.unwrap().join().unwrap();
    lines.extend(rx.try_iter());
    let mut count = 0;
    for line in lines {
        let mut words = line.split(' ');
        if words.next() == Some("stored") {
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            // The last line may be cut off.
            if let (Some(key), Some(epoch), Some(sequence), Some(_)) =
                (number(), number(), number(), number())
            {
                acked.insert(key, StateVersion::new(epoch, sequence));
                count += 1;
            }
        }
    }
    count
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_instant() {
    // A share: most kills are those of whole keepers, in `processes::kills`.
    let kills = Quota::KILLS.get() / 20;
    let seed = first_seed();
    let random = SeededRandom::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let mut acked = BTreeMap::new();
    let mut count = 0;
    for kill in 0..kills {
        let when = if kill % 5 == 4 { When::Opening } else { When::Saving };
        count += run_and_kill(&root, seed.wrapping_add(kill), when, &random, &mut acked);
        let storage = open(&root);
        let context = format!("CHECKPOINT_SEED={seed}, after kill {kill}");
        assert_eq!(std::fs::read_dir(root.join("temp")).unwrap().count(), 0, "{context}");
        for key in 0..KEYS {
            let name = key.to_string();
            let expected = acked.get(&key).copied();
            let Some(bytes) = fetch(&storage, &name).unwrap() else {
                assert_eq!(expected, None, "{context}: key {key} is gone");
                continue;
            };
            let record = RecordView::parse(&bytes)
                .and_then(|record| record.of(id(&name).as_ref()))
                .unwrap_or_else(|err| panic!("{context}: key {key}: {err}"));
            let found = record.header().version;
            assert!(Some(found) >= expected, "{context}: key {key} has {found}, not {expected:?}");
            // The content is the one of its version: it says which it is.
            let says = format!("{key} {} {} ", found.epoch.0, found.sequence.0);
            assert!(record.payload().starts_with(says.as_bytes()), "{context}: key {key}");
        }
        let epoch = storage.open_epoch(0).unwrap();
        let highest = acked.values().map(|version| version.epoch).max().unwrap_or_default();
        assert!(epoch > highest, "{context}: epoch {} after {}", epoch.0, highest.0);
    }
    // Else all of this has shown nothing.
    assert!(count >= kills / 2, "only {count} states were acknowledged in {kills} runs");
}
