//! Generated histories: operations drawn from a seed, done to a storage and to a model of it.
//!
//! What comes of each operation must be what the model says. A history that fails is shortened as
//! far as it still fails: operations say what they do in relation to what is stored ("a newer state
//! of the third id"), so that any part of a history is a history.

mod model;
mod operation;
mod play;

use std::sync::Arc;
use std::time::Duration;

use crate::random::SeededRandom;
use crate::storage::conformance::bounded::bounded;
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::history::operation::Operation;
use crate::storage::conformance::subject::Subject;
use crate::storage::conformance::trail::Trail;
use crate::storage::conformance::{Failure, Harness, Verdict};

pub(super) const NAME: &str = "histories_come_out_as_the_contract_says";
pub(super) const CONTRACT: &str = "All of it, whatever the order of the operations: newest wins, \
                                   removals stay, ids are listed once, puts are conditional, \
                                   epochs rise, what is declared is kept.";
/// How many shorter histories are tried.
const ATTEMPTS_MAX: usize = 300;
const STEPS_SHOWN: usize = 40;

/// Which histories are tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Histories {
    pub(super) seed: u64,
    pub(super) count: u64,
    pub(super) operations: usize,
}

impl Histories {
    /// Tries all of them; a failure tells the seed and the shortest part that was found to fail.
    pub(super) fn run(self, harness: &Arc<dyn Harness>, deadline: Duration) -> Checked {
        if self.count == 0 || self.operations == 0 {
            return Err(Verdict::Skipped("none were asked for".to_owned()));
        }
        let can_reopen = probe(harness, deadline)?;
        for number in 0..self.count {
            let seed = self.seed.wrapping_add(number);
            let history = Operation::draw(&SeededRandom::new(seed), self.operations, can_reopen);
            if let Err(verdict) = play(harness, deadline, &history) {
                return Err(shorten(harness, deadline, seed, history, verdict));
            }
        }
        Ok(())
    }
}

/// Plays a history on a fresh storage.
fn play(harness: &Arc<dyn Harness>, deadline: Duration, history: &[Operation]) -> Checked {
    let trail = Trail::default();
    let (harness, history, of_body) = (Arc::clone(harness), history.to_vec(), trail.clone());
    let played = bounded(NAME, &trail, deadline.saturating_mul(2), move || {
        play::play(&mut Subject::new(harness, of_body, deadline), &history)
    });
    played.map_err(|verdict| match verdict {
        Verdict::Failed(failure) => Verdict::Failed(failure.after(trail.last(STEPS_SHOWN))),
        other => other,
    })
}

fn probe(harness: &Arc<dyn Harness>, deadline: Duration) -> Checked<bool> {
    let trail = Trail::default();
    let (harness, of_body) = (Arc::clone(harness), trail.clone());
    bounded(NAME, &trail, deadline.saturating_mul(2), move || {
        Ok(Subject::new(harness, of_body, deadline).reopen().is_ok())
    })
}

/// Leaves operations out as long as what is left fails: first halves, then quarters, …, then single
/// ones.
fn shorten(
    harness: &Arc<dyn Harness>,
    deadline: Duration,
    seed: u64,
    mut history: Vec<Operation>,
    mut verdict: Verdict,
) -> Verdict {
    let drawn = history.len();
    let mut attempts = 0;
    let mut part = history.len().div_ceil(2);
    while part > 0 && !hangs(&verdict) {
        let before = history.len();
        let mut at = 0;
        while at < history.len() && attempts < ATTEMPTS_MAX && !hangs(&verdict) {
            attempts += 1;
            let mut shorter = history.clone();
            shorter.drain(at..(at + part).min(history.len()));
            match play(harness, deadline, &shorter) {
                Err(shorter_verdict @ Verdict::Failed(_)) => {
                    (history, verdict) = (shorter, shorter_verdict);
                }
                _ => at += part,
            }
        }
        part = match part {
            // Once more: what is gone may have been what needed another.
            1 if history.len() < before && attempts < ATTEMPTS_MAX => 1,
            1 => 0,
            _ => part.div_ceil(2),
        };
    }
    match verdict {
        Verdict::Failed(failure) => Verdict::Failed(with_seed(failure, seed, history.len(), drawn)),
        other => other,
    }
}

/// A history that waits for the deadline each time is not worth the time.
fn hangs(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Failed(failure) if failure.is_of_time())
}

fn with_seed(failure: Failure, seed: u64, left: usize, drawn: usize) -> Failure {
    let attempted = format!(
        "{} (the history of seed {seed}, shortened from {drawn} operations to {left})",
        failure.attempted()
    );
    failure.attempting(attempted)
}
