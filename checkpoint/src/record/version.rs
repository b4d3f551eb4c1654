//! Orders the states of one PE: by the writer's epoch, then by sequence number.

use std::fmt;

/// Numbers the owners of a partition: each one that opens it for writing draws a higher epoch.
///
/// The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// Numbers the captures, removals and roll-backs of a partition within one epoch.
///
/// The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// Says which of two states of a PE is newer.
///
/// A higher epoch is newer than a lower one, whatever the sequence numbers; within an epoch the
/// higher sequence number is. One version never names two contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StateVersion {
    // The derived order compares the fields from the top.
    /// The epoch of the writer.
    pub epoch: Epoch,
    /// The number that the writer drew in that epoch.
    pub sequence: Sequence,
}

impl StateVersion {
    /// Returns the version with these numbers.
    #[must_use]
    pub const fn new(epoch: u64, sequence: u64) -> Self {
        Self { epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }
}

impl fmt::Display for StateVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.sequence.0)
    }
}
