//! Says how far a bench has come: a bar on a terminal, and the lines of its tables anywhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar below what is printed. It shows itself only if standard error is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(steps: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {eta} left: {msg}");
        let bar = ProgressBar::new(steps).with_style(style.unwrap());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// What is done next.
    pub(crate) fn next(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    pub(crate) fn done(&self) {
        self.0.inc(1);
    }

    /// Prints above the bar.
    pub(crate) fn print(&self, line: impl AsRef<str>) {
        self.0.suspend(|| println!("{}", line.as_ref()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
