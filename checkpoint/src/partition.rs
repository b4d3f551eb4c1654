//! Divides keys among partitions, and numbers the states of each.
//!
//! A partition is the unit of ownership: it has an epoch and one sequence of numbers, shared by all
//! prototypes of a keeper.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

use crate::record::{Epoch, Sequence, StateVersion};
use crate::sync::{AtomicU64, Ordering};

/// Says which partition a key belongs to.
///
/// The answer must be the same for ever: the name is recorded with the store, and opening the store
/// with another one is refused.
pub trait Partitioner: Send + Sync + fmt::Debug {
    /// Returns the name that is recorded with the store.
    fn name(&self) -> &str;

    /// Returns the partition, below `partitions`, of the key with these bytes.
    fn partition(&self, key: &[u8], partitions: NonZeroU32) -> u32;
}

/// The default: the upper half of XXH3-64 (seed 0) of the key's bytes, scaled to the number of
/// partitions.
///
/// In other words `((xxh3_64(key) >> 32) * partitions) >> 32`.
#[derive(Debug, Clone, Copy, Default)]
pub struct XxHashPartitioner;

impl Partitioner for XxHashPartitioner {
    fn name(&self) -> &'static str {
        "xxh3-64"
    }

    #[inline(always)]
    fn partition(&self, key: &[u8], partitions: NonZeroU32) -> u32 {
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let scaled = (hash >> 32) * u64::from(partitions.get());
        // Less than `partitions`, because the first factor is less than 2^32.
        u32::try_from(scaled >> 32).unwrap_or(0)
    }
}

/// The partitioner of a keeper. The default one is known by its type, so that it is inlined into
/// the way of an event: for a key of eight bytes that halves its work.
#[derive(Debug, Clone)]
pub(crate) enum Partitioning {
    XxHash,
    Custom(Arc<dyn Partitioner>),
}

impl Partitioning {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::XxHash => XxHashPartitioner.name(),
            Self::Custom(partitioner) => partitioner.name(),
        }
    }

    #[inline(always)]
    pub(crate) fn partition(&self, key: &[u8], partitions: NonZeroU32) -> u32 {
        match self {
            Self::XxHash => XxHashPartitioner.partition(key, partitions),
            Self::Custom(partitioner) => {
                let partition = partitioner.partition(key, partitions);
                debug_assert!(partition < partitions.get(), "a partitioner gave one too high");
                partition.min(partitions.get() - 1)
            }
        }
    }
}

/// Gives out the versions of captures, removals and roll-backs: one counter per partition.
#[derive(Debug)]
pub struct Sequences {
    partitions: NonZeroU32,
    counters: Box<[Counter]>,
}

#[derive(Debug)]
struct Counter {
    // Written before the first event, or while the partition is closed.
    epoch: AtomicU64,
    drawn: AtomicU64,
}

/// A partition has given out all its numbers, which takes longer than anybody lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("all sequence numbers of the partition are used up")]
pub struct SequenceExhausted;

impl Sequences {
    /// Returns the counters of so many partitions, all of epoch 1.
    #[must_use]
    pub fn new(partitions: NonZeroU32) -> Self {
        let counter = || Counter { epoch: AtomicU64::new(1), drawn: AtomicU64::new(0) };
        Self { partitions, counters: (0..partitions.get()).map(|_| counter()).collect() }
    }

    /// Returns how many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> NonZeroU32 {
        self.partitions
    }

    /// Starts a new epoch of a partition, whose numbers begin at 1 again.
    ///
    /// To be called while nothing of the partition is being captured.
    pub fn start(&self, partition: u32, epoch: Epoch) {
        if let Some(counter) = self.counter(partition) {
            counter.drawn.store(0, Ordering::Relaxed);
            counter.epoch.store(epoch.0, Ordering::Relaxed);
        }
    }

    /// Draws the next version of a partition.
    ///
    /// # Errors
    /// All numbers are used up: nothing wraps around.
    pub fn draw(&self, partition: u32) -> Result<StateVersion, SequenceExhausted> {
        let counter = self.counter(partition).ok_or(SequenceExhausted)?;
        // Relaxed: a number must be unique, and the order of two captures of one PE is that of the
        // lock under which they are made.
        let drawn = counter
            .drawn
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |drawn| drawn.checked_add(1))
            .map_err(|_| SequenceExhausted)?;
        let epoch = Epoch(counter.epoch.load(Ordering::Relaxed));
        Ok(StateVersion { epoch, sequence: Sequence(drawn + 1) })
    }

    fn counter(&self, partition: u32) -> Option<&Counter> {
        self.counters.get(usize::try_from(partition).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: NonZeroU32 = NonZeroU32::new(4).unwrap();

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // Recorded with stores: another answer would make their PEs unreachable. The numbers were
        // computed by another implementation of XXH3.
        let default = Partitioning::XxHash;
        assert_eq!(default.name(), "xxh3-64");
        let of = |key: &[u8]| default.partition(key, NonZeroU32::new(16).unwrap());
        assert_eq!([of(b""), of(b"alice"), of(b"bob"), of(&[0; 8])], [2, 4, 1, 12]);
    }

    #[test]
    fn keys_are_divided_as_the_user_says() {
        #[derive(Debug)]
        struct ByLength;
        impl Partitioner for ByLength {
            fn name(&self) -> &'static str {
                "by length"
            }
            fn partition(&self, key: &[u8], partitions: NonZeroU32) -> u32 {
                u32::try_from(key.len()).unwrap() % partitions
            }
        }
        let partitioning = Partitioning::Custom(Arc::new(ByLength));
        assert_eq!(partitioning.name(), "by length");
        let of = |key: &[u8]| partitioning.partition(key, FOUR);
        assert_eq!([of(b""), of(b"a"), of(b"abc"), of(b"abcd")], [0, 1, 3, 0]);
    }

    #[test]
    fn numbers_rise_within_an_epoch_and_never_wrap() {
        let sequences = Sequences::new(FOUR);
        assert_eq!(sequences.partitions(), FOUR);
        sequences.start(2, Epoch(7));
        assert_eq!(sequences.draw(2), Ok(StateVersion::new(7, 1)));
        assert_eq!(sequences.draw(2), Ok(StateVersion::new(7, 2)));
        assert_eq!(sequences.draw(3), Ok(StateVersion::new(1, 1)));
        sequences.counters[2].drawn.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(sequences.draw(2), Err(SequenceExhausted));
        assert_eq!(sequences.draw(2), Err(SequenceExhausted));
        assert_eq!(sequences.draw(4), Err(SequenceExhausted));
    }
}
