//! The serializations that go on, and which of them take so long that somebody should know.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::prototype_index::PrototypeIndex;

/// An `encode` that takes longer than this is told of. Most take microseconds, and the largest
/// states some seconds.
const SLOW_AFTER: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Serializations {
    running: BTreeMap<u64, Running>,
    next: u64,
}

struct Running {
    begun: Timestamp,
    /// Each once, in the order in which they are visited.
    prototypes: Vec<PrototypeIndex>,
    is_slow: bool,
}

/// A serialization that takes long.
pub(super) struct Slow {
    /// It encodes a state of one of these.
    pub(super) prototypes: Vec<PrototypeIndex>,
    pub(super) since: Duration,
}

impl Serializations {
    /// Notes that one begins. Returns its number, and when it has to be looked at.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        shards: &[(PrototypeIndex, usize)],
    ) -> (u64, Timestamp) {
        let mut prototypes: Vec<_> = shards.iter().map(|(prototype, _)| *prototype).collect();
        prototypes.dedup();
        let number = self.next;
        self.next += 1;
        self.running.insert(number, Running { begun: now, prototypes, is_slow: false });
        (number, now.after(SLOW_AFTER))
    }

    pub(super) fn end(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// Those that have become slow since the last time.
    pub(super) fn take_slow(&mut self, now: Timestamp) -> Vec<Slow> {
        let is_due =
            |running: &&mut Running| !running.is_slow && running.begun.after(SLOW_AFTER) <= now;
        let due = self.running.values_mut().filter(is_due);
        let told = due.map(|running| {
            running.is_slow = true;
            Slow { prototypes: running.prototypes.clone(), since: now.since(running.begun) }
        });
        told.collect()
    }

    /// When the next one becomes slow.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let others = self.running.values().filter(|running| !running.is_slow);
        others.map(|running| running.begun.after(SLOW_AFTER)).min()
    }

    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    pub(super) fn slow(&self) -> usize {
        self.running.values().filter(|running| running.is_slow).count()
    }

    /// The one that began first.
    #[cfg(test)]
    pub(super) fn oldest(&self) -> Option<u64> {
        self.running.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::new(Duration::from_secs(seconds))
    }

    fn prototypes(slow: &[Slow]) -> Vec<(Vec<usize>, u64)> {
        let told = |slow: &Slow| {
            (slow.prototypes.iter().map(|index| index.0).collect(), slow.since.as_secs())
        };
        slow.iter().map(told).collect()
    }

    #[test]
    fn each_is_told_of_once_when_it_has_taken_long_with_its_prototypes() {
        let mut all = Serializations::default();
        let shards = [(0, 1), (0, 2), (7, 1)].map(|(index, shard)| (PrototypeIndex(index), shard));
        assert_eq!(all.begin(at(5), &shards), (0, at(15)));
        assert_eq!(all.begin(at(6), &shards[..1]), (1, at(16)));
        assert_eq!(all.begin(at(6), &shards[2..]), (2, at(16)));
        assert_eq!((all.count(), all.slow(), all.next_look()), (3, 0, Some(at(15))));
        assert_eq!(prototypes(&all.take_slow(at(14))), []);
        assert_eq!(prototypes(&all.take_slow(at(15))), [(vec![0, 7], 10)]);
        assert_eq!(prototypes(&all.take_slow(at(15))), []);
        assert_eq!((all.count(), all.slow(), all.next_look()), (3, 1, Some(at(16))));
        // Told late, if nobody has looked.
        assert_eq!(prototypes(&all.take_slow(at(20))), [(vec![0], 14), (vec![7], 14)]);
        assert_eq!((all.count(), all.slow(), all.next_look()), (3, 3, None));
    }

    #[test]
    fn what_has_ended_is_not_told_of_and_its_number_not_used_again() {
        let mut all = Serializations::default();
        for number in 0..3 {
            assert_eq!(all.begin(at(0), &[(PrototypeIndex(0), 0)]).0, number);
        }
        assert_eq!(all.take_slow(at(10)).len(), 3);
        all.end(1);
        all.end(1);
        assert_eq!((all.count(), all.slow(), all.oldest()), (2, 2, Some(0)));
        all.end(0);
        assert_eq!((all.count(), all.slow(), all.oldest()), (1, 1, Some(2)));
        assert_eq!(all.begin(at(11), &[(PrototypeIndex(0), 0)]), (3, at(21)));
        all.end(3);
        assert_eq!((all.next_look(), prototypes(&all.take_slow(at(30)))), (None, vec![]));
    }
}
