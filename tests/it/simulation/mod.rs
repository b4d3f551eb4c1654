//! A few hundred histories of the simulation, and those that once broke a promise.
//!
//! What a history is, see `checkpoint_tests::simulation`. `tests/run` has many more, optimised.

mod found;

use checkpoint_tests::simulation::{Simulation, Telling};

/// Seeds of histories that have failed once.
const FAILED_ONCE: &[u64] = &[
    13, 14, 42, 46, 50, 62, 158, 280, 675, 760, 786, 982, 1701, 1768, 2224, 2373, 5087, 8266,
    11767, 103807, 138533, 263736, 366396, 496247, 547934, 557233, 750323,
];

/// The same of a keeper over storages on a disk that loses power.
const FAILED_ONCE_ON_DISK: &[u64] = &[1440, 1808];

#[track_caller]
fn check(simulation: Simulation) {
    // More of them are for the program, which is optimised.
    let seeds = simulation.quota().quick();
    match simulation.run_many(0..seeds).check() {
        Ok(summary) => assert!(summary.histories == seeds && summary.repeated > 0),
        Err(text) => panic!("{text}"),
    }
}

#[test]
fn every_history_keeps_the_promises() {
    check(Simulation::KEEPER);
}

/// A3, A4, A5, A7.
#[test]
fn what_was_acknowledged_survives_a_loss_of_power() {
    check(Simulation::POWER_LOSS);
}

/// A3, A4, A5, A7.
#[test]
fn what_a_log_has_acknowledged_survives_a_loss_of_power() {
    check(Simulation::LOG_POWER_LOSS);
}

/// A3, A4, A5, A7.
#[test]
fn what_a_keeper_has_promised_survives_a_loss_of_power() {
    check(Simulation::KEEPER_POWER_LOSS);
}

#[test]
fn histories_that_failed_once_hold() {
    let kinds =
        [(Simulation::KEEPER, FAILED_ONCE), (Simulation::KEEPER_POWER_LOSS, FAILED_ONCE_ON_DISK)];
    for (simulation, seeds) in kinds {
        for seed in seeds {
            if let Some(violation) = simulation.run(*seed, Telling::Nothing).violation {
                panic!("seed {seed}: {violation}");
            }
        }
    }
}
