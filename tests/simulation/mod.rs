//! Histories of a keeper, drawn from seeds: every promise is checked after every step.
//!
//! One seed is one history: events, guards, requests, panics, failures of the storage, crashes and
//! restarts in an order that the seed decides, on one thread, with a keeper that is stepped by hand
//! and a clock that is moved by hand. `book` is the model that the keeper is held against,
//! `content` is what the simulated storage insists on, `checks` says what must hold, `met` what
//! must have happened or a run has proved nothing.
//!
//! Which rules were broken on purpose, and after how many histories that was noticed, is in
//! `tests/SIMULATION.md`.
//!
//! `power_loss` has histories of another kind: a storage over files alone, over a disk that
//! loses what was not synced. In a third kind, `outage`, the keeper is over such a storage: then
//! the model follows what that answers (`mirrored_storage`), and after each end of a process looks
//! what is on the disk (`computer`).
//!
//! Nothing here waits for time or starts threads inside a history: one takes about 2 ms where the
//! profile `simulation` has optimised it. `tests/it/simulation` runs a few hundred with each
//! `cargo test`; the program `simulation` runs as many as it is told to, on all cores.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::result_large_err,
    clippy::missing_panics_doc,
    reason = "a simulation that fails may panic"
)]

mod application;
mod book;
mod checks;
mod clock;
mod computer;
mod content;
mod dice;
mod endings;
mod exposed;
mod history;
mod ledger;
mod many;
mod met;
mod mirrored_storage;
mod news;
mod outage;
mod outcome;
mod plan;
mod power_loss;
mod process;
mod profile;
mod promises;
mod recovery;
mod removal;
mod storage;
mod trace;
mod weather;
mod world;
mod zombie;

pub use self::ledger::planned_panic;
pub use self::many::{Simulation, Summary};
pub use self::outcome::{Outcome, Telling};
pub use self::power_loss::{Fate, Left, Machine};
