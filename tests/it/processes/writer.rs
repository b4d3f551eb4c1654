//! A running `writer`, as the tests see it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use checkpoint::{Clock, StateVersion, SystemClock};
use checkpoint_tests::Backend;

use crate::processes::store::OUTSTANDING_MAX;

/// Longer than any disk takes; a writer that hangs is still found.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What a writer has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// A version of an account.
    Version(u64, StateVersion),
    /// The events of an account up to a number.
    Position(u64, u64),
}

/// A process that writes until it is killed. Dropping it kills it too.
pub(crate) struct Writer {
    process: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    seen: Vec<String>,
    clock: SystemClock,
}

impl Writer {
    /// Starts one over the store at `root`.
    pub(crate) fn start(backend: Backend, root: &Path, seed: u64) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_writer"));
        command.arg(backend.name()).arg(root).args([seed.to_string(), OUTSTANDING_MAX.to_string()]);
        Self::start_by(&mut command)
    }

    /// Starts one by a command of the caller's, which becomes the writer.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let clock = SystemClock::new();
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        let reader = thread::Builder::new().spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)).ok();
        });
        Self { process, lines, reader: Some(reader.unwrap()), seen: Vec::new(), clock }
    }

    /// Waits for a line that starts so, and returns how long it took since the start.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: &str) -> Duration {
        while self.seen.last().is_none_or(|line| !line.starts_with(wanted)) {
            match self.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) => self.seen.push(line),
                Err(err) => panic!("no line {wanted:?}: {err}: {:?}", self.seen.last()),
            }
        }
        self.clock.now().since_start()
    }

    /// Lets it run for so long, unless it ends by itself.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.clock.now().since_start() + time;
        loop {
            let left = end.saturating_sub(self.clock.now().since_start());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Returns whether it has printed this line.
    pub(crate) fn has_printed(&self, line: &str) -> bool {
        self.seen.iter().any(|seen| seen == line)
    }

    /// Kills it with SIGKILL, and returns what it has acknowledged; it must not have ended before.
    #[track_caller]
    pub(crate) fn kill(&mut self) -> Vec<Acknowledged> {
        let ended = self.process.try_wait().unwrap();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let acknowledged = self.drain();
        assert!(ended.is_none(), "ended by itself: {ended:?}: {:?}", self.seen.last());
        acknowledged
    }

    /// Waits for its end, and returns what it has acknowledged.
    pub(crate) fn ended(&mut self) -> (std::process::ExitStatus, Vec<Acknowledged>) {
        let status = self.process.wait().unwrap();
        (status, self.drain())
    }

    #[track_caller]
    fn drain(&mut self) -> Vec<Acknowledged> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.seen.extend(self.lines.try_iter());
        let wrong = self.seen.iter().find(|line| line.starts_with("wrong"));
        assert_eq!(wrong, None, "the writer found something");
        self.seen.iter().filter_map(|line| parse(line)).collect()
    }
}

/// The last line may be cut off: it is one only with its dot.
fn parse(line: &str) -> Option<Acknowledged> {
    let mut words = line.strip_suffix(" .")?.split(' ');
    let what = words.next()?;
    let mut number = || words.next()?.parse().ok();
    match what {
        "stored" => Some(Acknowledged::Version(number()?, StateVersion::new(number()?, number()?))),
        "holds" => Some(Acknowledged::Position(number()?, number()?)),
        _ => None,
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
