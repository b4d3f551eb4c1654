//! What the checks found.

use std::fmt;

/// The verdicts of all checks.
///
/// `Display` tells of each check that failed what was done, what was expected, what came and what
/// the contract says about it; a table of all checks is at the end.
#[derive(Debug, Clone)]
#[must_use = "a report that nobody reads finds nothing"]
pub struct Report {
    checks: Vec<CheckReport>,
}

/// The verdict of one check.
#[derive(Debug, Clone)]
pub struct CheckReport {
    name: &'static str,
    contract: &'static str,
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
    Failed(Failure),
}

/// How a storage broke a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    attempted: String,
    expected: String,
    found: String,
    steps: Vec<String>,
    // It is noticed only after a deadline.
    is_of_time: bool,
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
        self.checks.iter().filter(|check| check.failure().is_some())
    }

    /// Panics with the report unless the storage passed.
    ///
    /// # Panics
    /// A check failed, or none was run.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(!self.checks.is_empty(), "no check was run");
        assert!(self.failures().next().is_none(), "the storage breaks the contract\n{self}");
    }
}

impl CheckReport {
    pub(super) fn new(name: &'static str, contract: &'static str, verdict: Verdict) -> Self {
        Self { name, contract, verdict }
    }

    /// Returns the name of the check, which is the promise.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns what the contract says about it.
    #[must_use]
    pub fn contract(&self) -> &'static str {
        self.contract
    }

    /// Returns how the check ended.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Returns how the storage broke the promise, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match &self.verdict {
            Verdict::Failed(failure) => Some(failure),
            Verdict::Passed | Verdict::Skipped(_) => None,
        }
    }
}

impl Failure {
    pub(super) fn new(attempted: &str, expected: &str, found: String) -> Self {
        let (attempted, expected) = (attempted.to_owned(), expected.to_owned());
        Self { attempted, expected, found, steps: Vec::new(), is_of_time: false }
    }

    pub(super) fn after(self, steps: Vec<String>) -> Self {
        Self { steps, ..self }
    }

    pub(super) fn attempting(self, attempted: String) -> Self {
        Self { attempted, ..self }
    }

    /// Says that nothing came in time.
    pub(super) fn in_vain(self) -> Self {
        Self { is_of_time: true, ..self }
    }

    pub(super) fn is_of_time(&self) -> bool {
        self.is_of_time
    }

    /// Returns what was attempted.
    #[must_use]
    pub fn attempted(&self) -> &str {
        &self.attempted
    }

    /// Returns what would have been right.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Returns what came instead.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// Returns what was done to the storage before, the last step last.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in self.failures() {
            writeln!(f, "{check}")?;
        }
        for check in &self.checks {
            match &check.verdict {
                Verdict::Passed => writeln!(f, "passed   {}", check.name)?,
                Verdict::Skipped(why) => writeln!(f, "skipped  {} ({why})", check.name)?,
                Verdict::Failed(_) => writeln!(f, "FAILED   {}", check.name)?,
            }
        }
        let failed = self.failures().count();
        let skipped =
            self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Skipped(_)));
        let skipped = skipped.count();
        let passed = self.checks.len() - failed - skipped;
        write!(
            f,
            "{} checks: {passed} passed, {skipped} skipped, {failed} failed",
            self.checks.len()
        )
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Passed => write!(f, "passed   {}", self.name),
            Verdict::Skipped(why) => write!(f, "skipped  {} ({why})", self.name),
            Verdict::Failed(failure) => {
                writeln!(f, "FAILED   {}", self.name)?;
                writeln!(f, "  contract   {}", self.contract)?;
                for (number, step) in (1..).zip(&failure.steps) {
                    let heading = if number == 1 { "done" } else { "" };
                    writeln!(f, "  {heading:<8} {number:>3}. {step}")?;
                }
                writeln!(f, "  attempted  {}", failure.attempted)?;
                writeln!(f, "  expected   {}", failure.expected)?;
                writeln!(f, "  found      {}", failure.found)
            }
        }
    }
}
