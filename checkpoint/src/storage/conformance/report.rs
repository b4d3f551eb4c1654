//! What the checks found.

use std::fmt;

/// The verdicts of all checks.
///
/// `Display` gives one line for each check, and what was expected and found where one failed.
#[derive(Debug, Clone)]
#[must_use = "a report that nobody reads finds nothing"]
pub struct Report {
    checks: Vec<CheckReport>,
}

/// The verdict of one check.
#[derive(Debug, Clone)]
pub struct CheckReport {
    name: &'static str,
    verdict: Verdict,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The storage keeps the promise.
    Passed,
    /// The storage does not claim to; this says what.
    Skipped(String),
    /// The storage breaks the promise; this says how.
    Failed(String),
}

impl Report {
    pub(super) fn new(checks: Vec<CheckReport>) -> Self {
        Self { checks }
    }

    /// Returns the checks in the order in which they were run.
    #[must_use]
    pub fn checks(&self) -> &[CheckReport] {
        &self.checks
    }

    /// Returns the checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CheckReport> {
        self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_)))
    }

    /// Panics with the report unless the storage passed.
    ///
    /// # Panics
    /// A check failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failures().next().is_none(), "the storage breaks the contract\n{self}");
    }
}

impl CheckReport {
    pub(super) fn new(name: &'static str, verdict: Verdict) -> Self {
        Self { name, verdict }
    }

    /// Returns the name of the check, which is the promise.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns how the check ended.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        let failed = self.failures().count();
        write!(f, "{} checks, {failed} failed", self.checks.len())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Passed => write!(f, "passed   {}", self.name),
            Verdict::Skipped(why) => write!(f, "skipped  {} ({why})", self.name),
            Verdict::Failed(why) => write!(f, "FAILED   {}\n         {why}", self.name),
        }
    }
}
