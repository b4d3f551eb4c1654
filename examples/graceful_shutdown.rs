//! How a service ends: a signal stops the intake, `close` stores what is dirty, and what could not
//! be stored in time is named.
//!
//! Counts the words of its standard input, `--state DIR`, and stores a word's count each
//! `--every EVENTS`. SIGTERM, Ctrl-C and the end of the input end it, with exit code 1 if a word's
//! count is not stored after `--deadline MILLISECONDS`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use std::io::{self, BufRead};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, CloseReport, LogStorage, NotAllStored,
    PePrototype, SafeKeeper,
};
use checkpoint_examples::{Words, option_value};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[derive(Checkpointable, Default)]
struct WordCount {
    count: u64,
}

/// Why the program is to end.
enum End {
    Signal(i32),
    Input(anyhow::Result<()>),
}

fn main() -> anyhow::Result<ExitCode> {
    let (mut state, mut deadline) = (String::from("state"), Duration::from_secs(10));
    let mut every = NonZeroU64::MIN;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("state") => state = arguments.value()?.to_string_lossy().into(),
            lexopt::Arg::Long("deadline") => {
                let millis = option_value(&mut arguments, "deadline", str::parse)?;
                deadline = Duration::from_millis(millis);
            }
            lexopt::Arg::Long("every") => {
                every = option_value(&mut arguments, "every", str::parse)?;
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    // Before anything else: a signal that comes while the store is opened is not missed.
    let (tx, ends) = mpsc::channel();
    watch_signals(tx.clone())?;

    let keeper = SafeKeeper::builder(LogStorage::open(state)?).build()?;
    let config = CheckpointingConfig::builder(CheckpointingMode::EventCount(every));
    let words = keeper
        .prototype::<String, WordCount>("word-count")
        .config(config.build()?)
        .create(|_word| WordCount::default())
        .build()?;
    // The intake. It needs no signal: once the keeper closes, its events get an error.
    thread::Builder::new().name("intake".to_owned()).spawn(move || {
        // Nobody listens any more if a signal came first.
        tx.send(End::Input(count_lines(&words))).ok();
    })?;

    match ends.recv()? {
        End::Signal(signal) => println!("signal {signal}: storing what has changed"),
        End::Input(result) => result?,
    }
    match keeper.close(deadline) {
        Ok(report) => {
            println!("everything is stored: {report}");
            Ok(ExitCode::SUCCESS)
        }
        Err(NotAllStored(report)) => {
            tell(&report);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn watch_signals(ends: Sender<End>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let watch = move || signals.forever().try_for_each(|signal| ends.send(End::Signal(signal)));
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}

/// Counts the words of each line, and says how far it has come.
fn count_lines(words: &PePrototype<String, WordCount>) -> anyhow::Result<()> {
    let mut counted = 0_u64;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut line = Words::new(line.as_bytes());
        while let Some(word) = line.next_word()? {
            words.process(word, |pe| pe.count += 1)?;
            counted += 1;
        }
        println!("{counted} words");
    }
    Ok(())
}

/// Names everything that is not stored, one line each, and why.
fn tell(report: &CloseReport) {
    for error in &report.failed {
        eprintln!("not stored: {} ({})", error.id(), error.reason());
    }
    for id in &report.not_attempted {
        eprintln!("not stored: {id} (there was no time)");
    }
    for id in &report.unknown {
        eprintln!("maybe stored: {id} (the storage had not answered)");
    }
    eprintln!(
        "{} stored, {} not, {} maybe",
        report.saved,
        report.failed.len() + report.not_attempted.len(),
        report.unknown.len()
    );
}
