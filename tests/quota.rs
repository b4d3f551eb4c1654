//! How much of a randomised test runs. The numbers of each kind of run are in `tests/quotas`.

use std::env;

/// A number of repetitions, set by an environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    variable: &'static str,
    quick: u64,
}

impl Quota {
    /// How often a writing process is killed with SIGKILL and looked at after its restart.
    pub const KILLS: Self = Self { variable: "CHECKPOINT_KILLS", quick: 3 };
    /// How many seeds the deterministic simulation of the keeper runs.
    pub const SIMULATION_SEEDS: Self = Self { variable: "CHECKPOINT_SIMULATION_SEEDS", quick: 300 };
    /// How many damaged or invented inputs each decoder gets.
    pub const HOSTILE_INPUTS: Self = Self { variable: "CHECKPOINT_HOSTILE_INPUTS", quick: 2000 };
    /// How many events a stress test with threads sends.
    pub const STRESS_EVENTS: Self = Self { variable: "CHECKPOINT_STRESS_EVENTS", quick: 20_000 };

    /// All quotas.
    pub const ALL: &[Self] =
        &[Self::KILLS, Self::SIMULATION_SEEDS, Self::HOSTILE_INPUTS, Self::STRESS_EVENTS];

    /// Returns the number: the variable's, or that of a quick run if it is not set.
    ///
    /// # Panics
    /// The variable is set to something that is no number: the run would not be what was asked for.
    #[must_use]
    pub fn get(self) -> u64 {
        match env::var(self.variable) {
            Err(_) => self.quick,
            Ok(text) => match text.parse() {
                Ok(number) => number,
                Err(err) => panic!("{}={text}: {err}", self.variable),
            },
        }
    }

    /// Returns the environment variable that sets it.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        self.variable
    }

    /// Returns the number of a quick run.
    #[must_use]
    pub const fn quick(self) -> u64 {
        self.quick
    }
}
