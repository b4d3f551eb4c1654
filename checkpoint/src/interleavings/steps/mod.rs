//! Every order of the steps of two or three threads.

mod events;
mod framework;
mod positions;
mod saving_run;
mod sequences;
mod signal;
mod storage;

/// Runs `body` once for each order of its threads' steps in which at most so many threads are
/// interrupted where they could have gone on.
pub(crate) fn every_order(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 100_000;
    model.check(body);
}
