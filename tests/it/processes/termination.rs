//! A service is told to end while much is waiting to be stored: A9.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use checkpoint::{LogStorage, SafeKeeper};
use checkpoint_tests::example;
use rustix::process::{Pid, Signal, kill_process};

use crate::processes::places;

/// What the program left and said.
struct Ended {
    code: Option<i32>,
    named: BTreeSet<String>,
    maybe: BTreeSet<String>,
    stored: BTreeSet<String>,
    last_line: String,
}

fn word(number: usize) -> String {
    let letter = |digit: usize| char::from(b'a' + u8::try_from(digit % 26).unwrap());
    format!("w{}{}{}{}", letter(number), letter(number / 26), letter(number / 676), {
        letter(number / 17576)
    })
}

/// Has the program count so many words once, and ends it with SIGTERM. Saved each 2 events, all of
/// them are still to be stored then, however fast the disk is; saved each event, some of them.
fn terminate(root: &Path, words: usize, every: u32, deadline_millis: u64) -> Ended {
    let mut program: Child = example("graceful_shutdown")
        .arg("--state")
        .arg(root)
        .args(["--every", &every.to_string()])
        .args(["--deadline", &deadline_millis.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Open until the end: it is the signal that ends the program.
    let mut input = program.stdin.take().unwrap();
    let text: Vec<_> = (0..words).map(word).collect();
    writeln!(input, "{}", text.join(" ")).unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("{words} words"));
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    let mut errors = String::new();
    program.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let named = |start: &str| {
        let ids = errors.lines().filter_map(|line| line.strip_prefix(start)?.split(' ').next());
        ids.map(|id| id.strip_prefix("word-count/").unwrap().to_owned()).collect()
    };
    Ended {
        code: program.wait().unwrap().code(),
        named: named("not stored: "),
        maybe: named("maybe stored: "),
        stored: stored(root),
        last_line: errors.lines().last().unwrap_or_default().to_owned(),
    }
}

fn stored(root: &Path) -> BTreeSet<String> {
    let storage = LogStorage::open(root).unwrap();
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let words = keeper.prototype::<String, u64>("word-count").create(|_| 0).build().unwrap();
    words.keys().unwrap().into_iter().collect()
}

#[test]
fn sigterm_before_a_short_deadline_names_exactly_what_is_not_stored() {
    let directory = places::on_disk();
    let words = 50_000;
    let ended = terminate(&directory.path().join("state"), words, 2, 1);
    assert_eq!(ended.code, Some(1), "{}", ended.last_line);
    assert!(!ended.named.is_empty(), "{}", ended.last_line);
    // Each word is named, or it is stored; those in doubt may be either.
    let all: BTreeSet<_> = (0..words).map(word).collect();
    assert_eq!(all.len(), words);
    let wrong: Vec<_> = ended.named.intersection(&ended.stored).collect();
    assert!(wrong.is_empty(), "named, but stored: {wrong:?}; {}", ended.last_line);
    let lost: Vec<_> = all
        .iter()
        .filter(|word| !ended.named.contains(*word) && !ended.maybe.contains(*word))
        .filter(|word| !ended.stored.contains(*word))
        .collect();
    assert!(lost.is_empty(), "neither named nor stored: {lost:?}; {}", ended.last_line);
}

#[test]
fn sigterm_before_an_ample_deadline_stores_everything() {
    let directory = places::in_memory();
    let ended = terminate(&directory.path().join("state"), 5_000, 1, 60_000);
    assert_eq!((ended.code, ended.last_line.as_str()), (Some(0), ""));
    assert_eq!(ended.stored.len(), 5_000);
}
