//! How much of a randomised test runs. The numbers of each kind of run are in `tests/quotas`.

use std::env;

/// A number of repetitions, set by an environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    variable: &'static str,
}

impl Quota {
    /// How often a writing process is killed with SIGKILL and looked at after its restart.
    pub const KILLS: Self = Self::of("CHECKPOINT_KILLS");
    /// How often a process that writes a log is killed so.
    pub const LOG_KILLS: Self = Self::of("CHECKPOINT_LOG_KILLS");
    /// How many system calls of opening and saving are hit: all there are, or a part.
    pub const SYSTEM_CALLS: Self = Self::of("CHECKPOINT_SYSTEM_CALLS");
    /// How many system calls of a log are hit.
    pub const LOG_SYSTEM_CALLS: Self = Self::of("CHECKPOINT_LOG_SYSTEM_CALLS");
    /// How many PEs have changes over a storage that does not answer.
    pub const DIRTY_KEYS: Self = Self::of("CHECKPOINT_DIRTY_KEYS");
    /// How many operations of a log's life the machine crashes at: all there are, or a part.
    pub const LOG_CRASHES: Self = Self::of("CHECKPOINT_LOG_CRASHES");
    /// For how many seconds a keeper is watched.
    pub const SOAK_SECONDS: Self = Self::of("CHECKPOINT_SOAK_SECONDS");
    /// For how many seconds a log is watched that is killed now and then.
    pub const LOG_SOAK_SECONDS: Self = Self::of("CHECKPOINT_LOG_SOAK_SECONDS");
    /// See `tests/quotas`.
    pub const LOG_SOAK_ACCOUNTS: Self = Self::of("CHECKPOINT_LOG_SOAK_ACCOUNTS");
    /// How many seeds the deterministic simulation of the keeper runs.
    pub const SIMULATION_SEEDS: Self = Self::of("CHECKPOINT_SIMULATION_SEEDS");
    /// How many seeds the simulated file system storage runs whose disk loses power.
    pub const POWER_LOSS_SEEDS: Self = Self::of("CHECKPOINT_POWER_LOSS_SEEDS");
    /// How many seeds the simulated log runs whose disk loses power.
    pub const LOG_POWER_LOSS_SEEDS: Self = Self::of("CHECKPOINT_LOG_POWER_LOSS_SEEDS");
    /// How many seeds the simulated keeper runs over the storages on a disk that loses power.
    pub const KEEPER_POWER_LOSS_SEEDS: Self = Self::of("CHECKPOINT_KEEPER_POWER_LOSS_SEEDS");
    /// How many damaged or invented inputs each decoder gets.
    pub const HOSTILE_INPUTS: Self = Self::of("CHECKPOINT_HOSTILE_INPUTS");
    /// How often a program that counts words is killed.
    pub const WORD_COUNT_KILLS: Self = Self::of("CHECKPOINT_WORD_COUNT_KILLS");
    /// How many seeded histories of sources that feed PEs are run.
    pub const SOURCE_HISTORIES: Self = Self::of("CHECKPOINT_SOURCE_HISTORIES");
    /// How many events a stress test with threads sends.
    pub const STRESS_EVENTS: Self = Self::of("CHECKPOINT_STRESS_EVENTS");

    /// Names a quota by its variable, which has a line in `tests/quotas`.
    #[must_use]
    pub const fn of(variable: &'static str) -> Self {
        Self { variable }
    }

    /// Returns all variables of `tests/quotas`.
    pub fn variables() -> impl Iterator<Item = &'static str> {
        lines().map(|(variable, _)| variable)
    }

    /// Returns the number: the variable's, or that of a quick run if it is not set.
    ///
    /// # Panics
    /// The variable is set to something that is no number: the run would not be what was asked for.
    #[must_use]
    pub fn get(self) -> u64 {
        number(self.variable).unwrap_or_else(|| self.quick())
    }

    /// Returns the environment variable that sets it.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        self.variable
    }

    /// Returns the number of a quick run.
    ///
    /// # Panics
    /// `tests/quotas` does not have the variable.
    #[must_use]
    pub fn quick(self) -> u64 {
        let found = lines().find(|(variable, _)| *variable == self.variable);
        match found.map(|(_, quick)| quick.parse()) {
            Some(Ok(quick)) => quick,
            other => panic!("{} in tests/quotas: {other:?}", self.variable),
        }
    }
}

/// Returns the first seed of a randomised test: `CHECKPOINT_SEED`, or 0.
///
/// A test that draws from n seeds takes those from here on, so that `tests/full` can put one
/// stretch after another.
///
/// # Panics
/// The variable is set to something that is no number.
#[must_use]
pub fn first_seed() -> u64 {
    number("CHECKPOINT_SEED").unwrap_or(0)
}

/// The variables of `tests/quotas`, each with the number of a quick run.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("quotas").lines().filter_map(|line| {
        let mut words = line.strip_prefix("quota ")?.split_whitespace();
        Some((words.next()?, words.next()?))
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(err) => panic!("{variable}={text}: {err}"),
    }
}
