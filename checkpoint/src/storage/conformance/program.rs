//! The checks as a program.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::storage::conformance::{Conformance, Report};

const USAGE: &str = "options: --only NAME, --histories COUNT, --operations COUNT, --seed SEED";

impl Conformance {
    /// Runs the checks as a program does: takes options from `args`, the program's own name not
    /// among them, prints the report, and returns what `main` returns.
    ///
    /// The options are `--only NAME`, `--histories COUNT`, `--operations COUNT` and `--seed SEED`.
    ///
    /// # Examples
    /// ```no_run
    /// use std::process::ExitCode;
    ///
    /// use checkpoint::storage::conformance::{Conformance, Harness};
    ///
    /// fn check(storages_of_mine: impl Harness + 'static) -> ExitCode {
    ///     Conformance::new(storages_of_mine).main(std::env::args().skip(1))
    /// }
    /// ```
    #[must_use]
    pub fn main(self, args: impl IntoIterator<Item = String>) -> ExitCode {
        let report = self.with_options(args).map(Self::run);
        let (text, passed) = match &report {
            Ok(report) => (report.to_string(), report.has_passed()),
            Err(wrong) => (format!("{wrong}\n{USAGE}"), false),
        };
        // If nobody reads what is printed, the exit code still says it.
        drop(writeln!(io::stdout(), "{text}"));
        if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn with_options(mut self, args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        while let Some(option) = args.next() {
            let mut number = || {
                let value = args.next().unwrap_or_default();
                value.parse::<u64>().map_err(|err| format!("{option} {value:?}: {err}"))
            };
            self = match option.as_str() {
                "--histories" => self.histories(number()?),
                "--operations" => self.operations(usize::try_from(number()?).unwrap_or(usize::MAX)),
                "--seed" => self.seed(number()?),
                "--only" => self.only(args.next().ok_or("--only what?")?),
                _ => return Err(format!("unknown option: {option}")),
            };
        }
        Ok(self)
    }
}

impl Report {
    fn has_passed(&self) -> bool {
        !self.checks().is_empty() && self.failures().next().is_none()
    }
}
