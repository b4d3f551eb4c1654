//! Counts the words of texts, with one processing element per word, and keeps the counts.
//!
//! Kill it at any moment and run the same command again: in the end it has counted what an
//! undisturbed run counts, to the word. SIGTERM and Ctrl-C end it in order: what has changed is
//! stored, and the exit code is 1 if that could not be. Run it with another text, and that one is
//! added.
//!
//! ```text
//! alias count='cargo run --release -p checkpoint-examples --example word_count --'
//! count --state /tmp/words
//! count --state /tmp/words examples/data/persuasion.txt
//! ```
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, DefaultFileSystemStateStorage,
    LogStorage, PePrototype, SafeKeeper, StateStorage,
};
use checkpoint_examples::{End, Ending, Text, Texts, Words, option_value, parse_mode, tell};
use lexopt::prelude::*;

const USAGE: &str = "\
usage: word_count [OPTIONS] [FILE...]

Counts the words of the files ('-' is standard input), or of Pride and Prejudice if there are none.
SIGTERM and Ctrl-C end it early: what has changed is stored, and the same command goes on there. The
exit code is 1 if not everything could be stored; the words are named.

  --state DIR       keep the counts in DIR, and start with those kept there; what was counted of a
                    file is not counted again. Without it they are kept in a directory that is gone
                    at the end
  --backend NAME    how they are kept: in a log (default), or a file for each word (file)
  --mode MODE       checkpoint each word after N events (count:N), after MS milliseconds with a
                    change (time:MS), or at the end only (none); default: count:10
  --threads N       count so many files at the same time; default: 1
  --deadline MS     how long storing may take at the end, in milliseconds; default: 60000
  --top N           print the N most frequent words; default: 10
  --output FILE     write all counts to FILE, as lines of word<TAB>count sorted by word
  --crash-after N   abort the process after N words, as a crash would";

/// What is kept for each word.
#[derive(Checkpointable, Default)]
struct WordCount {
    count: u64,
}

type WordCounts = PePrototype<String, WordCount>;

fn main() -> anyhow::Result<ExitCode> {
    let Some(options) = Options::parse(lexopt::Parser::from_env())? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    // Before the store is opened: a signal that comes meanwhile is not missed.
    let ending = Ending::watch()?;
    let texts = Texts::open(&options.files)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let dir = options.state.as_deref().unwrap_or(scratch.path());
    let keeper = SafeKeeper::builder_over(open_storage(dir, options.backend)?).build()?;
    let keeper = Arc::new(keeper);
    let words = keeper
        .prototype::<String, WordCount>("word-count")
        .config(CheckpointingConfig::builder(options.mode).build()?)
        .create(|_word| WordCount::default())
        .build()?;

    #[expect(clippy::disallowed_methods, reason = "the program itself measures real time")]
    let started = Instant::now();
    let intake = Intake {
        keeper: keeper.clone(),
        words: words.clone(),
        events: AtomicU64::new(0),
        crash_after: options.crash_after,
    };
    let threads = options.threads;
    let events = match ending.of(move || intake.count(texts, threads))? {
        End::Intake(events) => events,
        End::Signal(signal) => {
            println!("signal {signal}: storing what has changed");
            return Ok(tell(keeper.close(options.deadline)));
        }
    };
    let seconds = started.elapsed().as_secs_f64();

    let counts = all_counts(&words)?;
    print_top(&counts, options.top);
    if let Some(path) = &options.output {
        write_counts(&counts, path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let closed = keeper.close(options.deadline);
    let stats = keeper.stats();
    println!("\n{events} words in {seconds:.3} s, {:.0} words/s", events as f64 / seconds);
    println!("{} checkpoints, {} bytes", stats.stored, stats.stored_bytes);
    Ok(tell(closed))
}

fn open_storage(dir: &Path, backend: Backend) -> anyhow::Result<Arc<dyn StateStorage>> {
    Ok(match backend {
        Backend::Log => Arc::new(LogStorage::open(dir)?),
        Backend::File => Arc::new(DefaultFileSystemStateStorage::open(dir)?),
    })
}

/// Brings the words of texts to their processing elements.
struct Intake {
    keeper: Arc<SafeKeeper>,
    words: WordCounts,
    events: AtomicU64,
    crash_after: Option<NonZeroU64>,
}

impl Intake {
    /// Counts all texts; returns how many words there were.
    fn count(&self, texts: Texts, threads: NonZeroUsize) -> anyhow::Result<u64> {
        on_threads(threads, texts, |text| self.count_words(text))?;
        Ok(self.events.load(Ordering::Relaxed))
    }

    /// Sends each word of a text to its processing element, those that it has counted before left
    /// out.
    fn count_words(&self, text: Text) -> anyhow::Result<()> {
        let Self { keeper, words, .. } = self;
        let cannot_read = format!("cannot read {}", text.name);
        let Some(source) = &text.source else {
            // Standard input comes once: there is nothing to go back to.
            let mut text = Words::new(text.read_from(0)?);
            while let Some(word) = text.next_word().context(cannot_read.clone())? {
                words.process(word, |pe| pe.count += 1)?;
                self.counted();
            }
            return Ok(());
        };
        if let Some(path) = text.changed(keeper.stats().sources.iter().map(|known| &*known.name)) {
            bail!(
                "{path} has changed since its words were counted: to count those of now too, give \
                 a copy of it; to count anew, use another directory for --state"
            );
        }
        let mut source = keeper.source(source)?;
        // A word's position is the place where it ends. All before this place is counted and
        // stored.
        let start = source.resume_from().unwrap_or(0);
        let mut text = Words::new_at(text.read_from(start)?, start);
        while let Some((word, position)) = text.next_word_at().context(cannot_read.clone())? {
            // Does nothing if the word's count is stored with this position or a later one.
            source.process(words, word, position, |pe| pe.count += 1)?;
            self.counted();
        }
        Ok(())
    }

    fn counted(&self) {
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        if self.crash_after.is_some_and(|words| words.get() == events) {
            std::process::abort();
        }
    }
}

/// Does something with each text, on so many threads.
fn on_threads(
    threads: NonZeroUsize,
    texts: Texts,
    count: impl Fn(Text) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let texts = Mutex::new(texts);
    let count_some = || {
        while let Some(text) = texts.lock().map_err(|_| anyhow!("a thread panicked"))?.next() {
            count(text)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.get()).map(|_| scope.spawn(count_some)).collect();
        let mut ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|ended| ended.unwrap_or_else(|_| bail!("a thread panicked")))
    })
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

struct Options {
    files: Vec<PathBuf>,
    state: Option<PathBuf>,
    backend: Backend,
    mode: CheckpointingMode,
    threads: NonZeroUsize,
    deadline: Duration,
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
            threads: NonZeroUsize::MIN,
            deadline: Duration::from_secs(60),
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
                Long("threads") => {
                    options.threads = option_value(&mut arguments, "threads", str::parse)?;
                }
                Long("deadline") => {
                    let millis = option_value(&mut arguments, "deadline", str::parse)?;
                    options.deadline = Duration::from_millis(millis);
                }
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
