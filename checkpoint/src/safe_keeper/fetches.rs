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
    /// Threads in place of hanging ones.
    replacements: usize,
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
            replacements: 0,
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
        let hung = self.calls.remove(&call).is_some_and(|call| call.hangs);
        // Whether the thread that hung or its replacement goes is all the same.
        let surplus = hung && self.replacements > 0;
        if surplus {
            self.replacements -= 1;
        }
        surplus
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
            if self.replacements >= self.replacements_max {
                break;
            }
            call.hangs = true;
            self.replacements += 1;
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
        let may_hang = |call: &&Call| !call.hangs && self.replacements < self.replacements_max;
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

    pub(super) fn hanging(&self) -> usize {
        self.calls.values().filter(|call| call.hangs).count()
    }
}
