//! How a program ends in order: signals that tell it to, and what could not be stored by then.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::bail;
use checkpoint::{CloseReport, NotAllStored};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Why a program takes nothing in any more.
#[derive(Debug)]
pub enum End<T> {
    /// It was told to end. The intake still runs: it gets errors once the keeper closes.
    Signal(i32),
    /// The intake came to its own end, with this.
    Intake(T),
}

/// Waits for what ends the intake of a program: its input, SIGTERM or Ctrl-C.
#[derive(Debug)]
pub struct Ending<T> {
    tx: Sender<End<anyhow::Result<T>>>,
    ends: Receiver<End<anyhow::Result<T>>>,
}

impl<T: Send + 'static> Ending<T> {
    /// Watches the signals from now on. To be called before anything else: one that comes while the
    /// store is opened is not missed then.
    ///
    /// # Errors
    /// The system does not let them be watched.
    pub fn watch() -> io::Result<Self> {
        let (tx, ends) = mpsc::channel();
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let told = tx.clone();
        let watch = move || signals.forever().try_for_each(|signal| told.send(End::Signal(signal)));
        thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(Self { tx, ends })
    }

    /// Runs the intake on a thread of its own until it ends, or the program is told to end.
    ///
    /// # Errors
    /// Whatever the intake fails with, before there is a signal.
    pub fn of(
        self,
        intake: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<End<T>> {
        let Self { tx, ends } = self;
        let run = move || {
            // Caught so that it is told: the watch of the signals would keep us waiting for ever.
            let ended = catch_unwind(AssertUnwindSafe(intake));
            // Nobody listens any more if a signal came first.
            tx.send(End::Intake(ended.unwrap_or_else(|_| bail!("the intake panicked")))).ok();
        };
        thread::Builder::new().name("intake".to_owned()).spawn(run)?;
        match ends.recv()? {
            End::Signal(signal) => Ok(End::Signal(signal)),
            End::Intake(result) => Ok(End::Intake(result?)),
        }
    }
}

/// Says what came of closing a keeper, and returns the exit code: 1 if anything is not stored.
#[must_use]
pub fn tell(closed: Result<CloseReport, NotAllStored>) -> ExitCode {
    match closed {
        Ok(report) => {
            println!("everything is stored: {report}");
            ExitCode::SUCCESS
        }
        Err(NotAllStored(report)) => {
            name(&report);
            ExitCode::FAILURE
        }
    }
}

/// Names everything that is not stored, one line each, and why.
fn name(report: &CloseReport) {
    for error in &report.failed {
        eprintln!("not stored: {} ({})", error.id(), error.reason());
    }
    for id in &report.not_attempted {
        eprintln!("not stored: {id} (there was no time)");
    }
    for id in &report.unknown {
        eprintln!("maybe stored: {id} (the storage had not answered)");
    }
    for shard in &report.not_known {
        eprintln!("maybe stored: {shard} (an event had not ended)");
    }
    eprintln!(
        "{} stored, {} not, {} maybe",
        report.saved,
        report.failed.len() + report.not_attempted.len(),
        report.unknown.len() + report.not_known.len()
    );
}
