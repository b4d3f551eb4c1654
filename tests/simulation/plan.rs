//! What the simulated events do.

use std::sync::Mutex;

use super::book::Book;
use super::ledger::{Ledger, Trap, planned_panic};
use super::trace::lock;

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Change {
        filler_bytes: usize,
        trap: Trap,
    },
    /// Returns an error and changes nothing.
    Fail,
    /// Changes, then panics.
    Panic,
    Read,
}

/// Runs an event on a PE, as its plan says.
pub(super) fn run(book: &Mutex<Book>, owner: u64, pe: &mut Ledger, plan: Plan) -> Result<(), ()> {
    let mut book = lock(book);
    if plan != Plan::Read {
        book.check_exposed(owner);
        book.check_exposed_events(owner);
    }
    book.observe(owner, pe);
    match plan {
        Plan::Change { filler_bytes, trap } => {
            book.change(owner, pe, filler_bytes, trap);
            Ok(())
        }
        Plan::Read => Ok(()),
        Plan::Fail => Err(()),
        Plan::Panic => {
            book.change(owner, pe, 3, Trap::None);
            book.poison(owner);
            drop(book);
            planned_panic()
        }
    }
}
