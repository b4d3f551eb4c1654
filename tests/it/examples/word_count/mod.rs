//! `word_count`: the main example, as its usage says.

#[cfg(unix)]
mod stopped;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use checkpoint::{Clock, RandomSource, SeededRandom, SystemClock};
use checkpoint_tests::{Quota, example, first_seed};

use crate::examples::succeed;

const TEXTS: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/pride_and_prejudice.txt"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/persuasion.txt"),
];

const DIFFERENT_WORDS: u64 = 6259;

/// Runs `word_count` with a directory in place of each `{}`.
fn word_count(dir: &Path, arguments: &[&str]) -> io::Result<Output> {
    let dir = dir.to_string_lossy();
    example("word_count")
        .args(arguments.iter().map(|argument| argument.replace("{}", &dir)))
        .output()
}

#[test]
fn it_counts_the_text_that_ships() {
    let printed = succeed(word_count(Path::new(""), &["--top", "2"]));
    assert!(printed.starts_with("    4331 the\n    4163 to\n\n122817 words in "), "{printed}");
    let [speed, stored] = ["words/s", "bytes"].map(|end| {
        let line = printed.lines().find(|line| line.ends_with(end));
        line.unwrap_or_else(|| panic!("no line with {end}: {printed}"))
    });
    let speed = speed.trim_end_matches(" words/s").rsplit(' ').next().unwrap().parse::<u64>();
    assert!(speed.is_ok_and(|speed| speed > 0), "{printed}");
    let (checkpoints, bytes) = stored.split_once(" checkpoints, ").unwrap();
    let (checkpoints, bytes) = (checkpoints.parse::<u64>(), bytes.trim_end_matches(" bytes"));
    // At least one for each word, with more than the eight bytes of its count.
    let checkpoints = checkpoints.unwrap();
    assert!(checkpoints >= DIFFERENT_WORDS, "{printed}");
    assert!(bytes.parse::<u64>().unwrap() > 8 * checkpoints, "{printed}");
}

#[test]
fn it_reads_standard_input() -> io::Result<()> {
    let mut program =
        example("word_count").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Dropped at once, and so closed.
    program.stdin.take().map(|mut stdin| stdin.write_all(b"To be, or not to be")).transpose()?;
    let printed = String::from_utf8_lossy(&program.wait_with_output()?.stdout).into_owned();
    let expected = "       2 be\n       2 to\n       1 not\n       1 or\n\n6 words";
    assert!(printed.starts_with(expected), "{printed}");
    Ok(())
}

/// Counts two texts in two processes into one state, and in one process without; compares all
/// counts.
#[track_caller]
fn check_two_runs(options: &[&str]) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let state = [&["--state", "{}/state"], options].concat();
    for (text, output) in [(TEXTS[0], "{}/first"), (TEXTS[1], "{}/two runs")] {
        succeed(word_count(dir.path(), &[&state[..], &["--output", output, text]].concat()));
    }
    succeed(word_count(dir.path(), &["--output", "{}/one run", TEXTS[0], TEXTS[1]]));
    let counts = |name| fs::read_to_string(dir.path().join(name));
    assert_ne!(counts("first")?, counts("two runs")?);
    assert!(counts("one run")? == counts("two runs")?, "the counts differ");
    Ok(())
}

#[test]
fn it_goes_on_where_it_ended_in_count_mode() -> io::Result<()> {
    check_two_runs(&["--mode", "count:10"])
}

#[test]
fn it_goes_on_where_it_ended_in_time_mode() -> io::Result<()> {
    check_two_runs(&["--mode", "time:20"])
}

#[test]
fn it_goes_on_where_it_ended_without_checkpoints_between() -> io::Result<()> {
    check_two_runs(&["--mode", "none"])
}

#[test]
fn it_goes_on_where_it_ended_with_a_file_for_each_word() -> io::Result<()> {
    check_two_runs(&["--backend", "file"])
}

#[test]
#[cfg(unix)]
fn it_crashes_on_request_and_keeps_no_more_than_it_counted() -> io::Result<()> {
    use std::os::unix::process::ExitStatusExt;

    const SIGABRT: i32 = 6;
    let dir = tempfile::tempdir()?;
    let crashed = word_count(
        dir.path(),
        &["--state", "{}/state", "--mode", "count:1", "--crash-after", "5000"],
    )?;
    assert_eq!(crashed.status.signal(), Some(SIGABRT));
    fs::write(dir.path().join("empty"), "")?;
    succeed(word_count(dir.path(), &["--state", "{}/state", "--output", "{}/counts", "{}/empty"]));
    let counts = fs::read_to_string(dir.path().join("counts"))?;
    let kept = counts.lines().filter_map(|line| line.split('\t').nth(1)?.parse::<u64>().ok());
    // How much was stored before the crash is a matter of luck; that it can be read is not.
    assert!(kept.sum::<u64>() <= 5000);
    Ok(())
}

/// A text of a few very frequent words and many rare ones.
fn generated(random: &SeededRandom, words: u64) -> String {
    let mut text = String::new();
    for _ in 0..words {
        let number = match random.next_u64() % 4 {
            0 => random.next_u64() % 3000,
            _ => random.next_u64() % 3,
        };
        text.extend(number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')));
        text.push(if random.next_u64().is_multiple_of(9) { '\n' } else { ' ' });
    }
    text
}

/// Counts words in the simplest way there is; the result is what `--output` writes.
fn counted(texts: &[String]) -> String {
    let mut counts = BTreeMap::new();
    for word in texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphabetic())) {
        if !word.is_empty() {
            *counts.entry(word.to_ascii_lowercase()).or_insert(0_u64) += 1;
        }
    }
    counts.iter().map(|(word, count)| format!("{word}\t{count}\n")).collect()
}

/// One state, and the texts that are counted into it by the same command again and again.
#[cfg(unix)]
struct Life {
    dir: tempfile::TempDir,
    backend: &'static str,
    mode: &'static str,
    threads: u64,
    texts: Vec<String>,
    files: Vec<PathBuf>,
}

#[cfg(unix)]
impl Life {
    fn new(random: &SeededRandom) -> io::Result<Self> {
        let below = |n: u64| random.next_u64() % n;
        let backend = ["log", "file"][usize::from(below(4) == 0)];
        let mode = ["count:1", "count:50", "time:10", "none"][usize::try_from(below(4)).unwrap()];
        let threads = 1 + below(3);
        let mut texts = Vec::new();
        for n in 0..1 + below(4) {
            // Files cost a sync for each word: less of them.
            let words = if backend == "log" { 20_000 } else { 400 };
            texts.push(match backend == "log" && below(3) == 0 {
                true => String::from_utf8_lossy(&fs::read(TEXTS[0])?).into_owned() + &n.to_string(),
                false => generated(random, 1 + random.next_u64() % words),
            });
        }
        Self::of(texts, backend, mode, threads)
    }

    fn of(
        texts: Vec<String>,
        backend: &'static str,
        mode: &'static str,
        threads: u64,
    ) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let files: Vec<_> =
            (0..texts.len()).map(|n| dir.path().join(format!("text {n}"))).collect();
        for (file, text) in files.iter().zip(&texts) {
            fs::write(file, text)?;
        }
        Ok(Self { dir, backend, mode, threads, texts, files })
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self) -> Command {
        let mut command = example("word_count");
        command
            .args(["--backend", self.backend, "--mode", self.mode])
            .args(["--threads", &self.threads.to_string(), "--state"])
            .arg(self.state())
            .arg("--output")
            .arg(self.dir.path().join("counts"))
            .args(&self.files)
            .stdout(Stdio::null());
        command
    }

    /// Runs the command to its end; then the counts have to be those of an undisturbed run.
    #[track_caller]
    fn check(&self, context: &str) -> io::Result<()> {
        let Self { backend, mode, threads, .. } = self;
        let context = format!("{context}: {backend} {mode} {threads}");
        assert!(self.command().status()?.success(), "{context}");
        let found = fs::read_to_string(self.dir.path().join("counts"))?;
        check_counts(&found, &counted(&self.texts), &context);
        Ok(())
    }
}

#[track_caller]
fn check_counts(found: &str, right: &str, context: &str) {
    let wrong = found.lines().zip(right.lines()).find(|(a, b)| a != b);
    let wrong = wrong.map(|(a, b)| format!("{a:?} where {b:?} is right"));
    assert!(found == right, "{context}: {wrong:?}");
}

/// One state, whose program is killed a few times, and then is left alone.
#[cfg(unix)]
fn live(seed: u64) -> io::Result<u64> {
    let random = SeededRandom::new(seed);
    let life = Life::new(&random)?;
    let mut kills = 0;
    for _ in 0..1 + random.next_u64() % 6 {
        let mut program = life.command().spawn()?;
        // Long enough for some to come to their end.
        let micros = random.next_u64() % 400_000;
        let ended = wait_timeout(&mut program, Duration::from_micros(micros))?;
        if ended.is_none() {
            program.kill()?;
            program.wait()?;
            kills += 1;
        }
    }
    life.check(&format!("CHECKPOINT_SEED={seed}"))?;
    Ok(kills)
}

/// Waits for the end of a program, for a while.
#[cfg(unix)]
fn wait_timeout(program: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let clock = SystemClock::new();
    while clock.now().since_start() < time {
        if let Some(status) = program.try_wait()? {
            return Ok(Some(status));
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    program.try_wait()
}

/// T21, X10: killed at any moment and run again by the same command, as often as one likes.
#[test]
#[cfg(unix)]
fn it_is_killed_at_any_moment_and_counts_what_an_undisturbed_run_counts() -> io::Result<()> {
    let wanted = Quota::WORD_COUNT_KILLS.get();
    let mut kills = 0;
    for seed in first_seed().. {
        if kills >= wanted {
            break;
        }
        kills += live(seed)?;
    }
    Ok(())
}

#[test]
fn it_counts_no_text_twice() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("text"), "to be or not to be")?;
    let run =
        |text: &str| word_count(dir.path(), &["--state", "{}/state", "--output", "{}/out", text]);
    let counts = || fs::read_to_string(dir.path().join("out"));
    for _ in 0..2 {
        succeed(run("{}/text"));
        assert_eq!(counts()?, "be\t2\nnot\t1\nor\t1\nto\t2\n");
    }
    // The same words, and yet another text.
    fs::copy(dir.path().join("text"), dir.path().join("copy"))?;
    succeed(run("{}/copy"));
    assert_eq!(counts()?, "be\t4\nnot\t2\nor\t2\nto\t4\n");
    // One that has changed is told.
    fs::write(dir.path().join("text"), "to be or not to be, that is")?;
    let output = run("{}/text")?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("/text has changed since"), "{error}");
    let output = word_count(dir.path(), &["{}/text", "{}/text"])?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("/text is there twice"), "{error}");
    Ok(())
}

/// Runs `word_count` with a mistake in the command line, which the error has to name.
#[track_caller]
fn check_mistake(line: &str, expected: &str) -> io::Result<()> {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let output = word_count(Path::new("/no/such/dir"), &arguments)?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(error.starts_with(expected), "{line}: {error}");
    Ok(())
}

#[test]
fn it_names_what_is_wrong_with_its_command_line() -> io::Result<()> {
    check_mistake("--stat s", "Error: invalid option '--stat'\n\nusage: word_count ")?;
    check_mistake("--state", "Error: missing argument for option '--state'")?;
    check_mistake(
        "--backend disk",
        "Error: --backend disk: no such backend: known are log and file",
    )?;
    check_mistake("--mode count:0", "Error: --mode count:0: `0` is no count of events: ")?;
    check_mistake("--threads 0", "Error: --threads 0: ")?;
    check_mistake("--deadline soon", "Error: --deadline soon: ")?;
    check_mistake("--top many", "Error: --top many: ")?;
    check_mistake("--crash-after 0", "Error: --crash-after 0: ")?;
    check_mistake("{}/text", "Error: cannot read /no/such/dir/text\n")?;
    check_mistake("--output {}/out", "Error: cannot write /no/such/dir/out\n")
}
