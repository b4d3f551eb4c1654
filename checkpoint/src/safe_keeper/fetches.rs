//! The fetches of a keeper: which wait, which are with the storage, which have waited for too long.
//!
//! Only bookkeeping: nothing here blocks, reads a clock or calls a storage.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::framework::StateFetch;
use crate::safe_keeper::breaker::FetchBreaker;
use crate::storage::FetchVersion;
use crate::task::FetchNumber;

/// How many records are asked of the storage at once.
const BATCH_MAX: usize = 16;

pub(super) struct Fetches {
    queue_max: usize,
    threads: usize,
    replacements_max: usize,
    wait_max: Duration,
    hung_after: Duration,
    pub(super) breaker: FetchBreaker,
    /// Those without a verdict.
    open: HashMap<FetchNumber, Open>,
    queue: VecDeque<FetchNumber>,
    /// In the order in which they end, because all may wait for the same time.
    deadlines: VecDeque<(Timestamp, FetchNumber)>,
    calls: BTreeMap<u64, Call>,
    next_number: u64,
    next_call: u64,
}

struct Open {
    fetch: StateFetch,
    /// It was with a call that hangs, and is tried once more on its own.
    tried_alone: bool,
}

/// One call of the storage.
struct Call {
    started: Timestamp,
    numbers: Vec<FetchNumber>,
    hangs: bool,
}

/// Fetches that one thread is to ask of the storage.
pub(super) struct FetchCall {
    pub(super) call: u64,
    pub(super) wanted: Vec<(FetchNumber, CheckpointId, FetchVersion)>,
}

impl Fetches {
    pub(super) fn new(
        queue_max: NonZeroUsize,
        threads: NonZeroUsize,
        replacements_max: usize,
        (wait_max, hung_after): (Duration, Duration),
        breaker: FetchBreaker,
    ) -> Self {
        Self {
            queue_max: queue_max.get(),
            threads: threads.get(),
            replacements_max,
            wait_max,
            hung_after,
            breaker,
            open: HashMap::new(),
            queue: VecDeque::new(),
            deadlines: VecDeque::new(),
            calls: BTreeMap::new(),
            next_number: 0,
            next_call: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= self.queue_max
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn add(&mut self, fetch: StateFetch, now: Timestamp) -> FetchNumber {
        let number = self.next_number;
        self.next_number += 1;
        self.open.insert(number, Open { fetch, tried_alone: false });
        self.queue.push_back(number);
        self.deadlines.push_back((now.after(self.wait_max), number));
        number
    }

    /// The same for one that its caller does himself.
    pub(super) fn add_unqueued(&mut self, fetch: StateFetch, now: Timestamp) -> FetchNumber {
        let number = self.add(fetch, now);
        self.queue.pop_back();
        number
    }

    /// Takes fetches for one call of the storage: one alone while few wait, more if there are many.
    pub(super) fn next_call(&mut self, now: Timestamp) -> Option<FetchCall> {
        let share = (self.queue.len() / (4 * self.threads)).clamp(1, BATCH_MAX);
        let mut wanted = Vec::new();
        while wanted.len() < share
            && let Some(number) = self.queue.pop_front()
        {
            if let Some(open) = self.open.get(&number) {
                wanted.push((number, open.fetch.id.clone(), open.fetch.version));
            }
        }
        if wanted.is_empty() {
            return None;
        }
        let call = self.next_call;
        self.next_call += 1;
        let numbers = wanted.iter().map(|(number, ..)| *number).collect();
        self.calls.insert(call, Call { started: now, numbers, hangs: false });
        Some(FetchCall { call, wanted })
    }

    /// A call has returned; its answers may still come. Returns whether its thread is one too many.
    pub(super) fn returned(&mut self, call: u64) -> bool {
        // One that hung has a replacement: which of the two goes is all the same.
        self.calls.remove(&call).is_some_and(|call| call.hangs)
    }

    /// Takes a fetch that has its answer; `None` if it had a verdict before.
    pub(super) fn answered(&mut self, number: FetchNumber) -> Option<StateFetch> {
        self.open.remove(&number).map(|open| open.fetch)
    }

    /// Takes those that have waited for too long.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<StateFetch> {
        let mut expired = Vec::new();
        while let Some((deadline, number)) = self.deadlines.front() {
            let number = *number;
            if self.open.contains_key(&number) && *deadline > now {
                break;
            }
            self.deadlines.pop_front();
            expired.extend(self.open.remove(&number).map(|open| open.fetch));
        }
        expired
    }

    /// Finds calls that hang while others wait, puts back what they have beside the one that is
    /// stuck, and returns for how many a thread is to be started.
    pub(super) fn replace_hanging(&mut self, now: Timestamp) -> usize {
        let replacements_left = self.replacements_max.saturating_sub(self.hanging());
        let mut start = 0;
        for call in self.calls.values_mut() {
            if call.hangs || call.started.after(self.hung_after) > now {
                continue;
            }
            let open = |number: &&FetchNumber| self.open.contains_key(number);
            let waiting: Vec<FetchNumber> = call.numbers.iter().filter(open).copied().collect();
            if self.queue.is_empty() && waiting.len() <= 1 {
                continue;
            }
            if start >= replacements_left {
                break;
            }
            call.hangs = true;
            start += 1;
            // The storage takes them in order: the first that is open is the one it is stuck at.
            for number in waiting.into_iter().skip(1) {
                if let Some(open) = self.open.get_mut(&number)
                    && !open.tried_alone
                {
                    open.tried_alone = true;
                    self.queue.push_back(number);
                }
            }
        }
        start
    }

    /// Returns when something is to be looked at again.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let deadline = self.deadlines.front().map(|(deadline, _)| *deadline);
        let may_replace = self.hanging() < self.replacements_max;
        let may_hang = |call: &&Call| !call.hangs && may_replace;
        let hang = self.calls.values().filter(may_hang).map(|call| call.started).min();
        let worth_it = !self.queue.is_empty() || self.calls.values().any(|c| c.numbers.len() > 1);
        let hang = hang.filter(|_| worth_it).map(|started| started.after(self.hung_after));
        [deadline, hang].into_iter().flatten().min()
    }

    /// Takes all fetches that have no verdict.
    pub(super) fn take_all(&mut self) -> Vec<StateFetch> {
        self.queue.clear();
        self.deadlines.clear();
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_unstable_by_key(|(number, _)| *number);
        open.into_iter().map(|(_, open)| open.fetch).collect()
    }

    /// How many calls hang. Each has a thread in place of its own.
    pub(super) fn hanging(&self) -> usize {
        self.calls.values().filter(|call| call.hangs).count()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::ops::Range;

    use super::*;
    use crate::framework::Caller;

    const WAIT_MAX: Duration = Duration::from_millis(100);
    const HUNG_AFTER: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Timestamp {
        Timestamp::new(Duration::from_millis(millis))
    }

    /// With room for 40, two threads, and one more in place of one that hangs.
    fn fetches() -> Fetches {
        let [queue_max, threads] = [40, 2].map(|n| NonZeroUsize::new(n).unwrap());
        let breaker = FetchBreaker::new(NonZeroU32::MAX, WAIT_MAX);
        Fetches::new(queue_max, threads, 1, (WAIT_MAX, HUNG_AFTER), breaker)
    }

    fn fetch(key: u8) -> StateFetch {
        let id = CheckpointId::new("p", [key]).unwrap();
        StateFetch::new(id, FetchVersion::Newest, Caller::MustNotWait, |_| {})
    }

    fn add(fetches: &mut Fetches, keys: Range<u8>, now: Timestamp) -> Vec<FetchNumber> {
        keys.map(|key| fetches.add(fetch(key), now)).collect()
    }

    fn keys(fetches: &[StateFetch]) -> Vec<u8> {
        fetches.iter().map(|fetch| fetch.id.key()[0]).collect()
    }

    /// The keys that the next call asks for, and its number.
    fn next_call(fetches: &mut Fetches, now: Timestamp) -> (Vec<u8>, u64) {
        let call = fetches.next_call(now).unwrap();
        (call.wanted.iter().map(|(_, id, _)| id.key()[0]).collect(), call.call)
    }

    #[test]
    fn a_call_asks_for_one_while_few_wait_and_for_more_while_many_do() {
        let mut fetches = fetches();
        assert!(fetches.next_call(at(0)).is_none() && fetches.queued() == 0);
        add(&mut fetches, 0..15, at(0));
        let (wanted, first) = next_call(&mut fetches, at(0));
        assert_eq!((wanted, fetches.queued()), (vec![0], 14));
        add(&mut fetches, 15..17, at(0));
        let (wanted, second) = next_call(&mut fetches, at(0));
        assert_eq!(wanted, [1, 2]);
        assert_ne!(first, second);
        add(&mut fetches, 17..42, at(0));
        assert!(!fetches.is_full() && fetches.queued() == 39);
        add(&mut fetches, 42..43, at(0));
        assert!(fetches.is_full());
        add(&mut fetches, 43..250, at(0));
        assert_eq!(next_call(&mut fetches, at(0)).0.len(), BATCH_MAX);
    }

    #[test]
    fn a_fetch_has_one_verdict() {
        let mut fetches = fetches();
        let numbers = add(&mut fetches, 0..3, at(0));
        let alone = fetches.add_unqueued(fetch(9), at(0));
        assert_eq!(keys(&[fetches.answered(numbers[1]).unwrap()]), [1]);
        assert_eq!(keys(&[fetches.answered(alone).unwrap()]), [9]);
        assert!(fetches.answered(numbers[1]).is_none() && fetches.answered(alone).is_none());
        // What is answered is not asked for any more, nor does it expire.
        assert_eq!(next_call(&mut fetches, at(0)).0, [0]);
        assert_eq!(next_call(&mut fetches, at(0)).0, [2]);
        assert!(fetches.next_call(at(0)).is_none());
        assert_eq!(keys(&fetches.take_expired(at(100))), [0, 2]);
    }

    #[test]
    fn who_has_waited_for_too_long_is_found_at_that_time() {
        let mut fetches = fetches();
        add(&mut fetches, 0..1, at(0));
        let answered = add(&mut fetches, 1..2, at(10));
        fetches.add_unqueued(fetch(2), at(20));
        assert_eq!(fetches.next_look(), Some(at(100)));
        assert!(fetches.take_expired(at(99)).is_empty());
        assert_eq!(keys(&fetches.take_expired(at(100))), [0]);
        assert!(fetches.answered(answered[0]).is_some());
        assert!(fetches.take_expired(at(101)).is_empty());
        assert_eq!(fetches.next_look(), Some(at(120)));
        assert_eq!(keys(&fetches.take_expired(at(120))), [2]);
        assert_eq!(fetches.next_look(), None);
    }

    #[test]
    fn what_waits_behind_a_call_that_hangs_goes_on_in_another_thread() {
        let mut fetches = fetches();
        add(&mut fetches, 0..16, at(0));
        let (wanted, hanging) = next_call(&mut fetches, at(0));
        assert_eq!((wanted, fetches.queued()), (vec![0, 1], 14));
        assert_eq!(fetches.next_look(), Some(at(10)));
        assert_eq!((fetches.replace_hanging(at(9)), fetches.hanging()), (0, 0));
        assert_eq!((fetches.replace_hanging(at(10)), fetches.hanging()), (1, 1));
        // The first may be the one at which it is stuck; the other is tried once more.
        assert_eq!(fetches.queued(), 15);
        // There is no thread for another one.
        let (_, other) = next_call(&mut fetches, at(12));
        assert_eq!(fetches.replace_hanging(at(30)), 0);
        assert_eq!(fetches.next_look(), Some(at(100)));
        assert!(!fetches.returned(other) && fetches.hanging() == 1);
        let (_, other) = next_call(&mut fetches, at(30));
        assert!(fetches.returned(hanging) && !fetches.returned(hanging));
        assert_eq!((fetches.next_look(), fetches.hanging()), (Some(at(40)), 0));
        assert_eq!(fetches.replace_hanging(at(40)), 1);
        assert!(fetches.returned(other));
    }

    #[test]
    fn a_call_that_hangs_is_left_alone_if_nobody_waits_behind_it() {
        let mut lone = fetches();
        add(&mut lone, 0..1, at(0));
        next_call(&mut lone, at(0));
        assert_eq!((lone.next_look(), lone.replace_hanging(at(50))), (Some(at(100)), 0));
        // One waits in the queue.
        add(&mut lone, 1..2, at(50));
        assert_eq!((lone.next_look(), lone.replace_hanging(at(50))), (Some(at(10)), 1));

        // One waits in the same call, and none in the queue.
        let mut pair = fetches();
        let numbers = add(&mut pair, 0..16, at(0));
        for number in &numbers[2..] {
            pair.answered(*number);
        }
        next_call(&mut pair, at(0));
        assert!(pair.next_call(at(0)).is_none() && pair.queued() == 0);
        assert_eq!((pair.next_look(), pair.replace_hanging(at(10))), (Some(at(10)), 1));
        // Tried once more alone, and not again: what hangs then is that one.
        assert_eq!(next_call(&mut pair, at(10)).0, [1]);
        assert!(pair.next_call(at(10)).is_none());
    }

    #[test]
    fn all_without_a_verdict_are_taken_in_the_end() {
        let mut fetches = fetches();
        let numbers = add(&mut fetches, 0..4, at(0));
        next_call(&mut fetches, at(0));
        fetches.answered(numbers[2]);
        assert_eq!(keys(&fetches.take_all()), [0, 1, 3]);
        assert!(fetches.next_call(at(0)).is_none() && fetches.take_expired(at(200)).is_empty());
    }
}
