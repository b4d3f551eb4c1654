//! An entry is completed once: completing takes it.

use checkpoint::{SaveEntry, SaveOutcome};

fn acknowledge(entry: SaveEntry) {
    entry.complete(SaveOutcome::Stored);
    entry.complete(SaveOutcome::Stored);
}

fn acknowledge_a_copy(entry: &SaveEntry) {
    entry.clone().complete(SaveOutcome::Stored);
}

fn main() {}
