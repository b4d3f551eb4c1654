//! Counts the words of texts, with one processing element per word, and keeps the counts.
//!
//! Run it twice into one state directory, and the second run goes on where the first one ended:
//!
//! ```text
//! alias count='cargo run --release -p checkpoint-examples --example word_count --'
//! count --state /tmp/words
//! count --state /tmp/words examples/data/persuasion.txt
//! ```
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, DefaultFileSystemStateStorage,
    LogStorage, PePrototype, SafeKeeper, StateStorage,
};
use checkpoint_examples::{PRIDE_AND_PREJUDICE, Words, option_value, parse_mode};
use indicatif::{ProgressBar, ProgressStyle};
use lexopt::prelude::*;

const USAGE: &str = "\
usage: word_count [OPTIONS] [FILE...]

Counts the words of the files ('-' is standard input), or of Pride and Prejudice if there are none.

  --state DIR       keep the counts in DIR, and start with those kept there; without it they are
                    kept in a directory that is gone at the end
  --backend NAME    how they are kept: in a log (default), or a file for each word (file)
  --mode MODE       checkpoint each word after N events (count:N), after MS milliseconds with a
                    change (time:MS), or at the end only (none); default: count:10
  --top N           print the N most frequent words; default: 10
  --output FILE     write all counts to FILE, as lines of word<TAB>count sorted by word
  --crash-after N   abort the process after N words, as a crash would";

/// How long the end of the run may take to store what has changed.
const CLOSE_MAX: Duration = Duration::from_secs(60);

/// What is kept for each word.
#[derive(Checkpointable, Default)]
struct WordCount {
    count: u64,
}

type WordCounts = PePrototype<String, WordCount>;

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::parse(lexopt::Parser::from_env())? else {
        println!("{USAGE}");
        return Ok(());
    };
    let input = Input::open(&options.files)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let dir = options.state.as_deref().unwrap_or(scratch.path());
    let keeper = SafeKeeper::builder_over(open_storage(dir, options.backend)?).build()?;
    let words = keeper
        .prototype::<String, WordCount>("word-count")
        .config(CheckpointingConfig::builder(options.mode).build()?)
        .create(|_word| WordCount::default())
        .build()?;

    #[expect(clippy::disallowed_methods, reason = "the program itself measures real time")]
    let started = Instant::now();
    let events = count_words(&words, input, options.crash_after)?;
    let seconds = started.elapsed().as_secs_f64();

    let counts = all_counts(&words)?;
    print_top(&counts, options.top);
    if let Some(path) = &options.output {
        write_counts(&counts, path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // What cannot be stored in time is an error that names the words.
    keeper.close(CLOSE_MAX)?;
    let stats = keeper.stats();
    println!("\n{events} words in {seconds:.3} s, {:.0} words/s", events as f64 / seconds);
    println!("{} checkpoints, {} bytes", stats.stored, stats.stored_bytes);
    Ok(())
}

fn open_storage(dir: &Path, backend: Backend) -> anyhow::Result<Arc<dyn StateStorage>> {
    Ok(match backend {
        Backend::Log => Arc::new(LogStorage::open(dir)?),
        Backend::File => Arc::new(DefaultFileSystemStateStorage::open(dir)?),
    })
}

/// Sends each word to its processing element, and returns how many there were.
fn count_words(
    words: &WordCounts,
    input: Input,
    crash_after: Option<NonZeroU64>,
) -> anyhow::Result<u64> {
    let mut events = 0;
    for (name, text) in input.texts {
        let mut text = Words::new(text);
        while let Some(word) = text.next_word().with_context(|| format!("cannot read {name}"))? {
            words
                .process(word, |pe| pe.count += 1)
                .with_context(|| format!("cannot count word {} of {name}", events + 1))?;
            events += 1;
            if crash_after.is_some_and(|words| words.get() == events) {
                std::process::abort();
            }
        }
    }
    input.progress.finish_and_clear();
    Ok(events)
}

/// Returns the counts of all words, sorted by word, also of those that this run did not meet.
fn all_counts(words: &WordCounts) -> anyhow::Result<Vec<(String, u64)>> {
    let mut counts = Vec::new();
    for word in words.keys()? {
        let count = words.read(&word, |pe| pe.count)?;
        counts.push((word, count));
    }
    counts.sort();
    Ok(counts)
}

fn print_top(counts: &[(String, u64)], top: usize) {
    let mut counts: Vec<_> = counts.iter().collect();
    // The sort is stable: words of one count stay sorted by themselves.
    counts.sort_by_key(|(_, count)| Reverse(*count));
    for (word, count) in counts.into_iter().take(top) {
        println!("{count:>8} {word}");
    }
}

fn write_counts(counts: &[(String, u64)], path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (word, count) in counts {
        writeln!(file, "{word}\t{count}")?;
    }
    file.flush()
}

/// The texts, opened all at the start, so that a mistyped name costs no work.
struct Input {
    texts: Vec<(String, Box<dyn BufRead>)>,
    progress: ProgressBar,
}

impl Input {
    fn open(files: &[PathBuf]) -> anyhow::Result<Self> {
        // The bar shows itself only if standard error is a terminal.
        let progress = ProgressBar::new(0).with_style(ProgressStyle::with_template(
            "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        )?);
        let mut texts: Vec<(String, Box<dyn BufRead>)> = Vec::new();
        for path in files {
            let name = path.display().to_string();
            if name == "-" {
                texts.push(("standard input".to_owned(), Box::new(io::stdin().lock())));
                continue;
            }
            let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
            progress.inc_length(file.metadata()?.len());
            texts.push((name, Box::new(BufReader::new(progress.wrap_read(file)))));
        }
        if files.is_empty() {
            progress.inc_length(PRIDE_AND_PREJUDICE.len() as u64);
            let text = BufReader::new(progress.wrap_read(PRIDE_AND_PREJUDICE));
            texts.push(("Pride and Prejudice".to_owned(), Box::new(text)));
        }
        Ok(Self { texts, progress })
    }
}

struct Options {
    files: Vec<PathBuf>,
    state: Option<PathBuf>,
    backend: Backend,
    mode: CheckpointingMode,
    top: usize,
    output: Option<PathBuf>,
    crash_after: Option<NonZeroU64>,
}

/// A storage that keeps the counts.
#[derive(Clone, Copy)]
enum Backend {
    Log,
    File,
}

impl FromStr for Backend {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name {
            "log" => Ok(Self::Log),
            "file" => Ok(Self::File),
            _ => bail!("no such backend: known are log and file"),
        }
    }
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    fn parse(mut arguments: lexopt::Parser) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            files: Vec::new(),
            state: None,
            backend: Backend::Log,
            mode: parse_mode("count:10")?,
            top: 10,
            output: None,
            crash_after: None,
        };
        while let Some(argument) = arguments.next().context(USAGE)? {
            match argument {
                Long("state") => options.state = Some(arguments.value()?.into()),
                Long("backend") => {
                    options.backend = option_value(&mut arguments, "backend", str::parse)?;
                }
                Long("mode") => options.mode = option_value(&mut arguments, "mode", parse_mode)?,
                Long("top") => options.top = option_value(&mut arguments, "top", str::parse)?,
                Long("output") => options.output = Some(arguments.value()?.into()),
                Long("crash-after") => {
                    let words = option_value(&mut arguments, "crash-after", str::parse)?;
                    options.crash_after = Some(words);
                }
                Long("help") | Short('h') => return Ok(None),
                Value(file) => options.files.push(file.into()),
                other => bail!("{}\n\n{USAGE}", other.unexpected()),
            }
        }
        Ok(Some(options))
    }
}
