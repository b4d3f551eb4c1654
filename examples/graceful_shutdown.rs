//! How a service ends: a signal stops the intake, `close` stores what is dirty, and what could not
//! be stored in time is named.
//!
//! Counts the words of its standard input, `--state DIR`, and stores a word's count each
//! `--every EVENTS`. SIGTERM, Ctrl-C and the end of the input end it, with exit code 1 if a word's
//! count is not stored after `--deadline MILLISECONDS`.
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::io::{self, BufRead};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, LogStorage, PePrototype, SafeKeeper,
};
use checkpoint_examples::{End, Ending, Words, option_value, tell};

#[derive(Checkpointable, Default)]
struct WordCount {
    count: u64,
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
    let ending = Ending::watch()?;

    let keeper = SafeKeeper::builder(LogStorage::open(state)?).build()?;
    let config = CheckpointingConfig::builder(CheckpointingMode::EventCount(every));
    let words = keeper
        .prototype::<String, WordCount>("word-count")
        .config(config.build()?)
        .create(|_word| WordCount::default())
        .build()?;
    // The intake needs no signal: once the keeper closes, its events get an error.
    if let End::Signal(signal) = ending.of(move || count_lines(&words))? {
        println!("signal {signal}: storing what has changed");
    }
    Ok(tell(keeper.close(deadline)))
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
