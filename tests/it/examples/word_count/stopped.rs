//! `word_count` is told to end: it stores what has changed or says what it could not store, and the
//! same command goes on from there (A9, T21).

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    Checkpointable, DefaultFileSystemStateStorage, LogStorage, RandomSource, SafeKeeper,
    SeededRandom, StateStorage,
};
use checkpoint_tests::{Quota, first_seed};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::{Life, TEXTS, check_counts, counted, wait_timeout};
use crate::support::eventually;

/// So many more programs are started than are to be stopped, at most: others come to their end, or
/// have not begun.
const IN_VAIN_MAX: u64 = 50;

const AMPLE_MILLIS: u64 = 60_000;

/// What the program keeps for a word.
#[derive(Checkpointable, Default)]
struct WordCount {
    count: u64,
}

/// How a program has ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The signal came before it listened, and killed it.
    Killed,
    /// It says that everything is stored.
    Stored,
    /// It says that not everything is.
    NotStored,
}

/// Waits for the end; checks that the program does not contradict itself. Returns all that it said,
/// too.
#[track_caller]
fn end(program: Child, context: &str) -> io::Result<(Ended, String)> {
    let Output { status, stdout, stderr } = program.wait_with_output()?;
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let said = format!("{context}: {status}: {said}{errors}");
    if status.signal().is_some() {
        assert!(stdout.is_empty() && stderr.is_empty(), "{said}");
        return Ok((Ended::Killed, said));
    }
    if said.contains("\neverything is stored: ") {
        assert!(status.success() && errors.is_empty(), "{said}");
        return Ok((Ended::Stored, said));
    }
    let named = |start: &str| errors.lines().filter(|line| line.starts_with(start)).count();
    let (not, maybe) = (named("not stored: "), named("maybe stored: "));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(not + maybe > 0, "nobody is named: {said}");
    assert!(errors.ends_with(&format!(" stored, {not} not, {maybe} maybe\n")), "{said}");
    Ok((Ended::NotStored, said))
}

/// Tells a program to end that nobody has waited for.
#[track_caller]
fn stop(program: Child, signal: Signal, context: &str) -> io::Result<(Ended, String)> {
    kill_process(Pid::from_child(&program), signal)?;
    end(program, context)
}

fn spawn(mut command: Command, deadline_millis: u64) -> io::Result<Child> {
    let deadline = deadline_millis.to_string();
    command.args(["--deadline", &deadline]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// After an end that stored everything, each text is counted up to one place, where the next run
/// goes on; or a word further, if the thread that counted it was not out of that event yet when it
/// was looked how far it is: the next run finds that the word is counted.
#[track_caller]
fn check_kept(life: &Life, context: &str) {
    let storage: Arc<dyn StateStorage> = match life.backend {
        "log" => Arc::new(LogStorage::open(life.state()).unwrap()),
        _ => Arc::new(DefaultFileSystemStateStorage::open(life.state()).unwrap()),
    };
    let keeper = SafeKeeper::builder_over(storage).build().unwrap();
    let words = keeper.prototype::<String, WordCount>("word-count");
    let words = words.create(|_| WordCount::default()).build().unwrap();
    let sources = keeper.stats().sources;
    let counted_of = |n: usize| {
        let text = life.texts[n].as_bytes();
        let name = format!("/text {n} {} ", text.len());
        let source = sources.iter().find(|source| source.name.contains(&name));
        let end = source.and_then(|source| source.safe_position).unwrap_or(0);
        let (before, behind) = text.split_at(usize::try_from(end).unwrap());
        let mut words = behind.split(|byte| !byte.is_ascii_alphabetic());
        let next = words.find(|word| !word.is_empty()).unwrap_or_default();
        [before, next].map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let texts: Vec<_> = (0..life.texts.len()).map(counted_of).collect();
    let mut keys = words.keys().unwrap();
    keys.sort();
    let line = |word: &String| format!("{word}\t{}\n", words.read(word, |pe| pe.count).unwrap());
    let kept: String = keys.iter().map(line).collect();
    // Each set of texts of which the next word is counted.
    let rights: Vec<String> = (0..1_u32 << texts.len())
        .map(|with_next| {
            let counted_text = |(n, [before, next]): (usize, &[String; 2])| match with_next >> n & 1
            {
                0 => before.clone(),
                _ => format!("{before} {next}"),
            };
            counted(&texts.iter().enumerate().map(counted_text).collect::<Vec<_>>())
        })
        .collect();
    if !rights.contains(&kept) {
        check_counts(&kept, &rights[0], context);
    }
}

/// One state, whose program is told to end a few times, and then is left alone; returns how often
/// everything was stored, and how often not.
fn live(seed: u64) -> io::Result<(u64, u64)> {
    let random = SeededRandom::new(seed);
    let below = |n: u64| random.next_u64() % n;
    let life = Life::new(&random)?;
    // Whether it may have hardly any time to store what has changed.
    let is_hasty = below(2) == 0;
    let (mut stored, mut not_stored, mut is_exact) = (0, 0, true);
    for _ in 0..1 + below(4) {
        let signal = [Signal::TERM, Signal::INT][usize::from(below(3) == 0)];
        let deadline = if is_hasty && below(2) == 0 { below(3) } else { AMPLE_MILLIS };
        let mut program = spawn(life.command(), deadline)?;
        let micros = Duration::from_micros(below(400_000));
        let context = format!("CHECKPOINT_SEED={seed}: {signal:?} --deadline {deadline}");
        let (ended, said) = match wait_timeout(&mut program, micros)? {
            Some(_) => end(program, &context)?,
            None => stop(program, signal, &context)?,
        };
        let was_told = u64::from(said.contains(": signal "));
        // Where to go on is kept last. Without it the next run goes through more than it has to,
        // and until it has, there is more in the counts than it says.
        is_exact &= deadline == AMPLE_MILLIS;
        match ended {
            Ended::Killed => {}
            Ended::Stored => {
                stored += was_told;
                if is_exact {
                    check_kept(&life, &said);
                }
            }
            Ended::NotStored => {
                not_stored += was_told;
                assert!(deadline < AMPLE_MILLIS, "{said}");
            }
        }
    }
    life.check(&format!("CHECKPOINT_SEED={seed}"))?;
    Ok((stored, not_stored))
}

#[test]
fn it_is_told_to_end_at_any_moment_and_counts_what_an_undisturbed_run_counts() -> io::Result<()> {
    let wanted = Quota::WORD_COUNT_KILLS.get() / 2;
    let (mut stored, mut not_stored) = (0, 0);
    for seed in first_seed()..first_seed() + wanted + IN_VAIN_MAX {
        if stored + not_stored >= wanted && stored > 0 && not_stored > 0 {
            return Ok(());
        }
        let lived = live(seed)?;
        stored += lived.0;
        not_stored += lived.1;
    }
    panic!("it ended in order {stored} times, and {not_stored} times with something not stored");
}

/// A text whose counting takes some seconds, stored each tenth time that a word comes.
fn long() -> io::Result<Life> {
    let text = fs::read(TEXTS[0])?;
    Life::of(vec![String::from_utf8_lossy(&text).repeat(10)], "log", "count:10", 1)
}

/// Waits until something is stored.
fn wait_for_saves(life: &Life) {
    let words_in = |file: fs::DirEntry| file.metadata().is_ok_and(|data| data.len() > 100_000);
    eventually("words are stored", || {
        let files = fs::read_dir(life.state().join("segments"));
        files.is_ok_and(|mut files| files.any(|file| file.is_ok_and(words_in)))
    });
}

#[test]
fn what_there_is_no_time_to_store_is_named_and_counted_by_the_next_run() -> io::Result<()> {
    let life = long()?;
    let program = spawn(life.command(), 0)?;
    wait_for_saves(&life);
    let (ended, said) = stop(program, Signal::TERM, "--deadline 0")?;
    assert_eq!(ended, Ended::NotStored, "{said}");
    assert!(said.contains(" (there was no time)\n"), "{said}");
    life.check("after --deadline 0")
}

/// B1: its files may not grow, all of a sudden.
#[test]
#[cfg(target_os = "linux")]
fn what_a_full_disk_does_not_take_is_named_and_counted_by_the_next_run() -> io::Result<()> {
    let life = long()?;
    // Whoever ignores the signal that comes with the limit gets an error.
    let mut command = Command::new("bash");
    let program = life.command();
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(program.get_program()).args(program.get_args());
    let program = spawn(command, 500)?;
    wait_for_saves(&life);
    let nothing = Rlimit { current: Some(0), maximum: None };
    prlimit(Some(Pid::from_child(&program)), Resource::Fsize, nothing)?;
    let (ended, said) = stop(program, Signal::TERM, "a full disk")?;
    assert_eq!(ended, Ended::NotStored, "{said}");
    assert!(said.contains(" (the storage failed too often; "), "{said}");
    life.check("after a full disk")
}
