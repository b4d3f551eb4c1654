//! What a keeper does next: its state, stepped by whoever runs it.
//!
//! [`Core::next`] gives a pool's thread something to do or tells it to wait; what has come of it is
//! told by the `…ed` methods. Nothing here blocks, reads a clock, starts a thread or calls a
//! storage, a prototype or the user's code: so a test can run a keeper step by step.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::capture::CaptureLimits;
use crate::clock::Timestamp;
use crate::prototype_index::PrototypeIndex;
use crate::safe_keeper::action::{Action, Pool, Step};
use crate::safe_keeper::ending::{GivenUp, Phase, Stopped};
use crate::safe_keeper::fetches::Fetches;
use crate::safe_keeper::flush_state::FlushState;
use crate::safe_keeper::rounds::Rounds;
use crate::safe_keeper::saving_health::SavingHealth;
use crate::safe_keeper::serializations::Serializations;
use crate::safe_keeper::settings::Overflow;
use crate::safe_keeper::stats::Gauges;
use crate::task::{SaveStateTask, SavingResults, SavingRun};

/// How many shards one serialization visits at most.
const SHARDS_PER_TASK: usize = 64;
/// How many buffers of old batches are kept.
const BUFFERS_MAX: usize = 4;

/// What waits after a failure, so that a storage in trouble is not asked again and again.
enum Delayed {
    Save(SaveStateTask),
    GiveBack(Vec<GivenUp>),
}

/// What bounds the work in flight.
pub(super) struct CoreLimits {
    pub(super) storage_threads: usize,
    pub(super) serialization_threads: usize,
    pub(super) captures_max: usize,
    pub(super) bytes_max: usize,
    pub(super) storage_overflow: Overflow,
    /// How often it is looked how far sources need not feed again.
    pub(super) round_interval: Duration,
    pub(super) capture: CaptureLimits,
}

pub(super) struct Core {
    limits: CoreLimits,
    phase: Phase,
    /// Shards with results to take in, each once.
    mail: VecDeque<(PrototypeIndex, usize)>,
    has_mail: HashSet<(PrototypeIndex, usize)>,
    /// The last shard with results could not be had: other work goes first, once.
    mail_gives_way: bool,
    /// Shards with due PEs, each once.
    ready: VecDeque<(PrototypeIndex, usize)>,
    is_ready: HashSet<(PrototypeIndex, usize)>,
    serializations: Serializations,
    /// Captured states whose result is not known yet.
    captures: usize,
    bytes: usize,
    saves: VecDeque<SaveStateTask>,
    /// Failed saves that wait for their next attempt, and captures that were given up.
    delayed: BTreeMap<(Timestamp, u64), Delayed>,
    next_delayed: u64,
    running: HashMap<u64, Arc<SavingRun>>,
    next_run: u64,
    reports: VecDeque<SavingResults>,
    reporting: usize,
    given_up: VecDeque<Vec<GivenUp>>,
    pub(super) fetches: Fetches,
    pub(super) saving_health: SavingHealth,
    ticks: BTreeMap<PrototypeIndex, Timestamp>,
    flushes: Vec<Arc<FlushState>>,
    pub(super) rounds: Rounds,
    /// Until when whoever keeps the time waits, if nothing happens; `None` is for ever.
    timing_until: Option<Timestamp>,
    /// Set also while no flush is in the list: one that is being looked at comes back, and what has
    /// happened meanwhile must not be overlooked.
    check_flushes: bool,
    buffers: Vec<Vec<u8>>,
}

impl Core {
    pub(super) fn new(limits: CoreLimits, fetches: Fetches) -> Self {
        Self {
            phase: Phase::Running,
            mail: VecDeque::new(),
            has_mail: HashSet::new(),
            mail_gives_way: false,
            ready: VecDeque::new(),
            is_ready: HashSet::new(),
            serializations: Serializations::default(),
            captures: 0,
            bytes: 0,
            saves: VecDeque::new(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            running: HashMap::new(),
            next_run: 0,
            reports: VecDeque::new(),
            reporting: 0,
            given_up: VecDeque::new(),
            fetches,
            saving_health: SavingHealth::default(),
            ticks: BTreeMap::new(),
            flushes: Vec::new(),
            rounds: Rounds::new(limits.round_interval),
            limits,
            timing_until: None,
            check_flushes: false,
            buffers: Vec::new(),
        }
    }

    /// Gives a thread of `pool` something to do.
    pub(super) fn next(&mut self, pool: Pool, now: Timestamp) -> Step {
        let action = match pool {
            Pool::Serialization => self.next_serialization(now),
            Pool::Storage => self.next_storage(now),
            Pool::Fetching => self.fetches.next_call(now).map(Action::Fetch),
            Pool::Timing => self.next_timing(now),
        };
        match action {
            Some(action) => Step::Run(action),
            None if self.phase != Phase::Running => Step::Exit,
            None => Step::Wait(match pool {
                Pool::Serialization => self.ticks.values().min().copied(),
                Pool::Fetching => None,
                Pool::Storage => self.delayed.keys().next().map(|(at, _)| *at),
                Pool::Timing => self.next_time(),
            }),
        }
    }

    fn next_serialization(&mut self, now: Timestamp) -> Option<Action> {
        // A shard that is held for long must not keep the others from being visited.
        if std::mem::take(&mut self.mail_gives_way)
            && let Some(action) = self.next_beside_mail(now)
        {
            return Some(action);
        }
        // Waits for no storage.
        if let Some(shard) = self.mail.pop_front() {
            self.has_mail.remove(&shard);
            return Some(Action::Attend(shard));
        }
        self.next_beside_mail(now)
    }

    fn next_beside_mail(&mut self, now: Timestamp) -> Option<Action> {
        // Waits for no storage either.
        if let Some(tick) = self.next_tick(now) {
            return Some(tick);
        }
        if self.is_storage_full() {
            // Whoever brings the states does the saving, if that is what was wished for.
            return match self.limits.storage_overflow {
                Overflow::CallerRuns => self.take_save(),
                Overflow::Block | Overflow::Reject => None,
            };
        }
        if self.phase != Phase::Running {
            return None;
        }
        // Something is left for the other threads.
        let share = self.ready.len().div_ceil(self.limits.serialization_threads);
        let count = share.min(SHARDS_PER_TASK);
        let shards: Vec<_> = self.ready.drain(..count).collect();
        if shards.is_empty() {
            return None;
        }
        for shard in &shards {
            self.is_ready.remove(shard);
        }
        let limits = self.limits_of_next_batch();
        let (number, look_at) = self.serializations.begin(now, &shards);
        let wakes_timing = self.timing_until.is_none_or(|until| until > look_at);
        let bytes = self.buffers.pop().unwrap_or_default();
        Some(Action::Serialize { number, shards, limits, bytes, wakes_timing })
    }

    /// Whether no more states should be captured now: what waits is captured later, and then newer.
    pub(super) fn is_storage_full(&self) -> bool {
        let batches = self.saves.len() + self.serializations.count();
        let reserved = self.serializations.count() * self.limits.capture.captures_max;
        let reserved_bytes = self.serializations.count() * self.limits.capture.bytes_max;
        // While each storage thread has a batch, as many may wait.
        let has_work = self.captures + self.serializations.count() > 0;
        // A thread that is held up by one state must not keep the other threads from encoding.
        let batches_max = self.limits.storage_threads.max(self.limits.serialization_threads);
        batches >= batches_max
            || (has_work && self.captures + reserved >= self.limits.captures_max)
            || (has_work && self.bytes + reserved_bytes >= self.limits.bytes_max)
    }

    /// How much the next batch may take, so that no more is in flight than may be.
    fn limits_of_next_batch(&self) -> CaptureLimits {
        let limits = self.limits.capture;
        let captures = self.captures + self.serializations.count() * limits.captures_max;
        let bytes = self.bytes + self.serializations.count() * limits.bytes_max;
        let captures_left = self.limits.captures_max.saturating_sub(captures);
        let bytes_left = self.limits.bytes_max.saturating_sub(bytes);
        CaptureLimits {
            captures_max: limits.captures_max.min(captures_left).max(1),
            bytes_max: limits.bytes_max.min(bytes_left).max(1),
            ..limits
        }
    }

    fn next_storage(&mut self, now: Timestamp) -> Option<Action> {
        if let Some(report) = self.reports.pop_front() {
            self.reporting += 1;
            return Some(Action::Report(report));
        }
        if let Some(given_up) = self.given_up.pop_front() {
            return Some(Action::GiveBack(given_up));
        }
        if let Some(round) = self.rounds.take_stored() {
            return Some(Action::Round(round));
        }
        if let Some((at, _)) = self.delayed.keys().next().copied()
            && at <= now
        {
            return self.delayed.pop_first().map(|(_, delayed)| match delayed {
                Delayed::Save(task) => Action::Save(task),
                Delayed::GiveBack(given_up) => Action::GiveBack(given_up),
            });
        }
        self.take_save()
    }

    fn take_save(&mut self) -> Option<Action> {
        self.saves.pop_front().map(Action::Save)
    }

    fn next_timing(&mut self, now: Timestamp) -> Option<Action> {
        let expired = self.fetches.take_expired(now);
        if !expired.is_empty() {
            return Some(Action::Expire(expired));
        }
        let slow = self.serializations.take_slow(now);
        if !slow.is_empty() {
            return Some(Action::TellSlow(slow));
        }
        let replace = self.fetches.replace_hanging(now);
        if replace > 0 {
            return Some(Action::Replace(replace));
        }
        if self.phase == Phase::Running
            && let Some(step) = self.rounds.next(now)
        {
            return Some(Action::Round(step));
        }
        let due = self.flushes.iter().any(|flush| flush.deadline <= now);
        if std::mem::take(&mut self.check_flushes) || due {
            let flushes = std::mem::take(&mut self.flushes);
            if !flushes.is_empty() {
                return Some(Action::CheckFlushes(flushes));
            }
        }
        None
    }

    fn next_tick(&mut self, now: Timestamp) -> Option<Action> {
        let (index, _) = self.ticks.iter().find(|(_, at)| **at <= now)?;
        let index = *index;
        self.ticks.remove(&index);
        Some(Action::Tick(index))
    }

    fn next_time(&mut self) -> Option<Timestamp> {
        let flush = self.flushes.iter().map(|flush| flush.deadline).min();
        let rounds = self.rounds.next_look();
        let looks = [flush, self.fetches.next_look(), self.serializations.next_look(), rounds];
        self.timing_until = looks.into_iter().flatten().min();
        self.timing_until
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// A shard wants to be visited. Returns whether it was not waiting for that already.
    pub(super) fn shard_ready(&mut self, shard: (PrototypeIndex, usize)) -> bool {
        let new = self.is_ready.insert(shard);
        if new {
            self.ready.push_back(shard);
        }
        new
    }

    /// A shard has results to take in. Returns whether that was not known already.
    pub(super) fn shard_has_mail(&mut self, shard: (PrototypeIndex, usize)) -> bool {
        let new = self.has_mail.insert(shard);
        if new {
            self.mail.push_back(shard);
        }
        new
    }

    /// A shard with results could not be had: it is to be tried again, after other work.
    pub(super) fn not_attended(&mut self, shard: (PrototypeIndex, usize)) {
        // Whoever has the shard empties its inbox; this is for the case that he did before. When
        // everything ends, nobody waits for what comes back any more.
        if self.is_running() {
            self.shard_has_mail(shard);
            self.mail_gives_way = true;
        }
    }

    pub(super) fn tick_at(&mut self, index: PrototypeIndex, at: Timestamp) {
        let next = self.ticks.entry(index).or_insert(at);
        *next = at.min(*next);
    }

    pub(super) fn add_flush(&mut self, flush: Arc<FlushState>) {
        self.flushes.push(flush);
        self.check_flushes = true;
        // Nobody who flushes wants to wait for a backoff.
        self.hurry();
    }

    /// Lets every failed save be tried again now.
    fn hurry(&mut self) {
        for delayed in std::mem::take(&mut self.delayed).into_values() {
            match delayed {
                Delayed::Save(task) => self.saves.push_back(task),
                Delayed::GiveBack(given_up) => self.given_up.push_back(given_up),
            }
        }
    }

    /// A serialization is done. Returns what it captured if nothing is saved any more.
    #[must_use]
    pub(super) fn serialized(
        &mut self,
        number: u64,
        save: Option<SaveStateTask>,
        unused: Option<Vec<u8>>,
        again: Vec<(PrototypeIndex, usize)>,
    ) -> Option<SaveStateTask> {
        self.serializations.end(number);
        self.keep_buffer(unused);
        if self.phase != Phase::Running {
            return save;
        }
        for shard in again {
            self.shard_ready(shard);
        }
        if let Some(save) = save {
            self.captures += save.captures();
            self.bytes += save.memory();
            self.saves.push_back(save);
        }
        // A capture that failed for good may be all that a flush was waiting for.
        self.look_at_flushes();
        None
    }

    /// Something has come to its end: flushes may be through.
    pub(super) fn look_at_flushes(&mut self) {
        // Also while flushes are being looked at: they may have been looked at just before this.
        self.check_flushes = true;
        self.rounds.look();
    }

    /// Registers a save that is about to be given to the storage.
    pub(super) fn saving(&mut self, prepare: impl FnOnce(u64) -> Arc<SavingRun>) -> Arc<SavingRun> {
        let number = self.next_run;
        self.next_run += 1;
        let run = prepare(number);
        self.running.insert(number, run.clone());
        run
    }

    /// The storage has answered. Returns the results if nobody is to report them any more.
    #[must_use]
    pub(super) fn saved(&mut self, run: u64, results: SavingResults) -> Option<SavingResults> {
        self.running.remove(&run);
        if self.phase == Phase::Over {
            return Some(results);
        }
        self.reports.push_back(results);
        None
    }

    /// A report is done: so many captures are settled, some are to be tried again. Returns those
    /// if nothing is any more.
    #[must_use]
    pub(super) fn reported(
        &mut self,
        settled: usize,
        memory: Option<Arc<Vec<u8>>>,
        again: Option<(Timestamp, SaveStateTask)>,
        given_up: Option<(Timestamp, Vec<GivenUp>)>,
        any_stored: bool,
    ) -> Option<(Option<SaveStateTask>, Vec<GivenUp>)> {
        self.reporting -= 1;
        self.captures -= settled;
        if let Some(memory) = memory {
            self.bytes -= memory.len();
            self.keep_buffer(Arc::into_inner(memory));
        }
        if any_stored {
            // The storage works: what waits for its next attempt need not wait any longer.
            self.hurry();
        }
        if self.phase == Phase::Over {
            let given_up = given_up.map(|(_, given_up)| given_up);
            return Some((again.map(|(_, task)| task), given_up.unwrap_or_default()));
        }
        let again = again.map(|(at, task)| (at, Delayed::Save(task)));
        let given_up = given_up.map(|(at, given_up)| (at, Delayed::GiveBack(given_up)));
        for (at, delayed) in again.into_iter().chain(given_up) {
            self.delayed.insert((at, self.next_delayed), delayed);
            self.next_delayed += 1;
        }
        self.look_at_flushes();
        None
    }

    fn keep_buffer(&mut self, buffer: Option<Vec<u8>>) {
        if let Some(buffer) = buffer
            && buffer.capacity() > 0
            && buffer.capacity() <= 2 * self.limits.capture.bytes_max
            && self.buffers.len() < BUFFERS_MAX
        {
            self.buffers.push(buffer);
        }
    }

    pub(super) fn ticked(&mut self, index: PrototypeIndex, next: Option<Timestamp>) {
        if let Some(next) = next {
            self.tick_at(index, next);
        }
    }

    /// Flushes that were looked at and are not through.
    pub(super) fn flushes_go_on(&mut self, flushes: Vec<Arc<FlushState>>) {
        self.flushes.extend(flushes);
    }

    /// Ends everything, and lets the threads end. What they have in hand comes with the next call,
    /// unless this is the last.
    pub(super) fn stop(&mut self, is_last: bool) -> Stopped {
        self.phase = if is_last { Phase::Over } else { Phase::Stopped };
        self.ready.clear();
        self.is_ready.clear();
        self.ticks.clear();
        // What waits after a failure goes the way of everything else.
        self.hurry();
        let saves = std::mem::take(&mut self.saves).into_iter();
        let mut running: Vec<_> = self.running.drain().collect();
        running.sort_unstable_by_key(|(number, _)| *number);
        Stopped {
            waiting: saves.map(SaveStateTask::into_parts).collect(),
            with_storage: running.into_iter().map(|(_, run)| run).collect(),
            reports: std::mem::take(&mut self.reports).into(),
            given_up: std::mem::take(&mut self.given_up).into_iter().flatten().collect(),
            flushes: std::mem::take(&mut self.flushes),
            rounds: self.rounds.stop(),
            fetches: self.fetches.take_all(),
        }
    }

    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            captures: self.captures,
            captured_bytes: self.bytes,
            delayed_batches: self.delayed.len(),
            fetches_queued: self.fetches.queued(),
            fetches_hanging: self.fetches.hanging(),
            serializations_slow: self.serializations.slow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};
    use std::sync::mpsc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::capture::{Capture, CaptureRequests, PeHandle};
    use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
    use crate::framework::{Caller, StateFetch};
    use crate::record::{InputPositions, RecordKind, RecordMeta, RecordWriter, StateVersion};
    use crate::safe_keeper::breaker::FetchBreaker;
    use crate::storage::{FetchVersion, RecordPlace, SaveOutcome, SaveReceiver};
    use crate::wait::Signal;

    const P: PrototypeIndex = PrototypeIndex(0);

    fn at(millis: u64) -> Timestamp {
        Timestamp::new(Duration::from_millis(millis))
    }

    /// A batch of 4 captures and 40 bytes at most, of 100 and 1000 in flight.
    fn limits() -> CoreLimits {
        CoreLimits {
            storage_threads: 3,
            serialization_threads: 2,
            captures_max: 100,
            bytes_max: 1000,
            storage_overflow: Overflow::Reject,
            round_interval: Duration::from_secs(1),
            capture: CaptureLimits { captures_max: 4, bytes_max: 40, ..CaptureLimits::default() },
        }
    }

    fn core_with(limits: CoreLimits) -> Core {
        let one = NonZeroUsize::MIN;
        let times = (Duration::from_millis(100), Duration::from_millis(10));
        let breaker = FetchBreaker::new(NonZeroU32::MAX, Duration::ZERO);
        Core::new(limits, Fetches::new(one, one, 1, times, breaker))
    }

    fn core() -> Core {
        core_with(limits())
    }

    fn save(captures: usize, bytes: usize) -> SaveStateTask {
        let (version, kind) = (StateVersion::new(1, 1), RecordKind::State);
        let meta = RecordMeta {
            kind,
            partition: 0,
            version,
            event_count: 0,
            captured_at: UNIX_EPOCH,
            idle: Duration::ZERO,
            fingerprint: 0,
            positions: &InputPositions::none(),
        };
        let id = CheckpointIdRef { prototype: "p", key: b"k" };
        let capture = |_| Capture {
            prototype: P,
            shard: 0,
            pe: PeHandle { hash: 0, ticket: 1 },
            place: RecordPlace::new(0..bytes, (1, 1), kind, 0, version),
            writer: RecordWriter::begin(&mut Vec::new(), id, &meta),
            events: 1,
            generation: 0,
            captured_at: at(0),
            preserve: false,
            is_unsealed: false,
            asked: CaptureRequests::default(),
        };
        SaveStateTask::new(vec![0; bytes], (0..captures).map(capture).collect())
    }

    fn flush(deadline: Timestamp) -> Arc<FlushState> {
        let (marks, done) = (Vec::new(), Signal::new());
        Arc::new(FlushState { marks, deadline, done, waits_for_guards: false })
    }

    /// Has so many serializations going on.
    fn begin(core: &mut Core, count: usize) {
        for _ in 0..count {
            core.serializations.begin(at(0), &[(P, 0)]);
        }
    }

    /// Ends the one that began first.
    fn serialized(
        core: &mut Core,
        save: Option<SaveStateTask>,
        unused: Option<Vec<u8>>,
        again: Vec<(PrototypeIndex, usize)>,
    ) -> Option<SaveStateTask> {
        let number = core.serializations.oldest().unwrap();
        core.serialized(number, save, unused, again)
    }

    /// What a thread is given to do, in one word, or until when it waits.
    #[track_caller]
    fn check(core: &mut Core, pool: Pool, now: u64, expected: &str) {
        let found = match core.next(pool, at(now)) {
            Step::Wait(None) => "wait".to_owned(),
            Step::Wait(Some(until)) => format!("wait until {}", until.since_start().as_millis()),
            Step::Exit => "exit".to_owned(),
            Step::Run(Action::Serialize { shards, .. }) => {
                format!("serialize {:?}", shards.iter().map(|shard| shard.1).collect::<Vec<_>>())
            }
            Step::Run(Action::TellSlow(slow)) => format!("tell of {}", slow.len()),
            Step::Run(Action::Save(task)) => format!("save {}", task.captures()),
            Step::Run(Action::Report(_)) => "report".to_owned(),
            Step::Run(Action::GiveBack(_)) => "give back".to_owned(),
            Step::Run(Action::Fetch(_)) => "fetch".to_owned(),
            Step::Run(Action::Attend((_, shard))) => format!("attend {shard}"),
            Step::Run(Action::Tick(_)) => "tick".to_owned(),
            Step::Run(Action::Expire(fetches)) => format!("expire {}", fetches.len()),
            Step::Run(Action::Replace(threads)) => format!("replace {threads}"),
            Step::Run(Action::CheckFlushes(flushes)) => format!("check {}", flushes.len()),
            Step::Run(Action::Round(_)) => "round".to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check_full(core: &Core, (captures, bytes, serializing): (usize, usize, usize), full: bool) {
        let mut saves = VecDeque::new();
        saves.extend((0..core.saves.len()).map(|_| save(0, 0)));
        let mut core = Core { captures, bytes, saves, ..core_with(limits()) };
        begin(&mut core, serializing);
        let counts = (captures, bytes, serializing, core.saves.len());
        assert_eq!(core.is_storage_full(), full, "{counts:?}");
    }

    #[test]
    fn no_more_is_in_flight_than_may_be() {
        let mut core = core();
        // What is being serialized counts as if it were as much as may be.
        for (counts, full) in [
            ((0, 0, 0), false),
            ((0, 0, 1), false),
            ((0, 0, 3), true),
            ((99, 0, 0), false),
            ((100, 0, 0), true),
            ((95, 0, 1), false),
            ((96, 0, 1), true),
            ((1, 999, 0), false),
            ((1, 1000, 0), true),
            ((1, 959, 1), false),
            ((1, 960, 1), true),
        ] {
            check_full(&core, counts, full);
        }
        core.saves.extend([save(0, 0), save(0, 0)]);
        check_full(&core, (0, 0, 0), false);
        check_full(&core, (0, 0, 1), true);
    }

    #[test]
    fn one_batch_may_be_on_its_way_whatever_the_limits_are() {
        assert!(
            !core_with(CoreLimits { captures_max: 0, bytes_max: 0, ..limits() }).is_storage_full()
        );
    }

    #[test]
    fn a_batch_takes_what_is_left() {
        let left = |captures, bytes, serializing| {
            let mut core = Core { captures, bytes, ..core() };
            begin(&mut core, serializing);
            let limits = core.limits_of_next_batch();
            assert_eq!(limits.lock_time, core.limits.capture.lock_time);
            (limits.captures_max, limits.bytes_max)
        };
        assert_eq!(left(0, 0, 0), (4, 40));
        assert_eq!(left(98, 985, 0), (2, 15));
        assert_eq!(left(90, 900, 2), (2, 20));
        assert_eq!(left(100, 1000, 2), (1, 1));
    }

    #[test]
    fn shards_with_due_pes_are_shared_among_the_threads_each_once() {
        let mut core = core();
        check(&mut core, Pool::Serialization, 0, "wait");
        for shard in 0..3 {
            assert!(core.shard_ready((P, shard)));
        }
        assert!(!core.shard_ready((P, 0)));
        check(&mut core, Pool::Serialization, 0, "serialize [0, 1]");
        assert!(core.shard_ready((P, 0)) && !core.shard_ready((P, 2)));
        check(&mut core, Pool::Serialization, 0, "serialize [2]");
        assert_eq!(core.serializations.count(), 2);
        assert!(serialized(&mut core, None, None, vec![(P, 2), (P, 5)]).is_none());
        assert!(serialized(&mut core, None, None, Vec::new()).is_none());
        assert_eq!(core.serializations.count(), 0);
        check(&mut core, Pool::Serialization, 0, "serialize [0, 2]");
    }

    #[test]
    fn a_shard_waits_for_those_before_it_and_not_for_those_that_come_back() {
        let mut core = core();
        for shard in 0..200 {
            core.shard_ready((P, shard));
        }
        let other = (PrototypeIndex(1), 7);
        core.shard_ready(other);
        let mut turn = || match core.next(Pool::Serialization, at(0)) {
            Step::Run(Action::Serialize { number, shards, .. }) => {
                // Each of them has more, and is to be visited again.
                let more = shards.iter().copied().filter(|shard| *shard != other).collect();
                assert!(core.serialized(number, None, None, more).is_none());
                shards
            }
            _ => unreachable!("there are shards to be visited"),
        };
        // No turn is of more than 64, so that a thread is not long away from what else there is.
        let turns: Vec<_> = (0..4).map(|_| turn()).collect();
        assert_eq!(turns.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 64, 64]);
        let visited = turns.concat();
        assert_eq!(visited.iter().position(|shard| *shard == other), Some(200));
        assert!(visited[..200].iter().map(|(_, shard)| *shard).eq(0..200));
    }

    #[test]
    fn a_serialization_that_takes_long_is_told_of_once() {
        let mut core = core();
        let (mut begun, mut told) = (Vec::new(), 0);
        for shard in [0, 1] {
            core.shard_ready((P, shard));
            match core.next(Pool::Serialization, at(shard as u64)) {
                Step::Run(Action::Serialize { wakes_timing, .. }) => begun.push(wakes_timing),
                _ => unreachable!("a shard is ready"),
            }
            check(&mut core, Pool::Timing, 1, "wait until 10000");
        }
        // Who keeps the time waits no longer than that anyway.
        assert_eq!(begun, [true, false]);
        check(&mut core, Pool::Timing, 9_999, "wait until 10000");
        for (now, expected) in [(10_000, "wait until 10001"), (10_001, "wait")] {
            told += 1;
            check(&mut core, Pool::Timing, now, "tell of 1");
            check(&mut core, Pool::Timing, now, expected);
            assert_eq!(core.serializations.slow(), told);
        }
        // The one that began last ends first: the other one is still slow.
        assert!(core.serialized(1, None, None, Vec::new()).is_none());
        assert_eq!((core.serializations.slow(), core.serializations.oldest()), (1, Some(0)));
    }

    #[test]
    fn results_are_taken_in_first_but_for_a_shard_that_somebody_holds() {
        let mut core = core();
        core.shard_ready((P, 7));
        assert!(core.shard_has_mail((P, 1)) && !core.shard_has_mail((P, 1)));
        check(&mut core, Pool::Serialization, 0, "attend 1");
        core.not_attended((P, 1));
        check(&mut core, Pool::Serialization, 0, "serialize [7]");
        core.shard_ready((P, 8));
        check(&mut core, Pool::Serialization, 0, "attend 1");
        core.not_attended((P, 1));
        core.captures = 100;
        check(&mut core, Pool::Serialization, 0, "attend 1");
        assert!(core.shard_has_mail((P, 1)));
    }

    #[test]
    fn a_tick_comes_at_the_earliest_time_that_somebody_asked_for() {
        let mut core = core();
        core.tick_at(P, at(30));
        core.tick_at(P, at(10));
        core.tick_at(P, at(20));
        check(&mut core, Pool::Serialization, 9, "wait until 10");
        check(&mut core, Pool::Serialization, 10, "tick");
        check(&mut core, Pool::Serialization, 10, "wait");
        core.ticked(P, Some(at(20)));
        check(&mut core, Pool::Serialization, 19, "wait until 20");
        check(&mut core, Pool::Serialization, 21, "tick");
        core.ticked(P, None);
        check(&mut core, Pool::Serialization, 99, "wait");
    }

    #[test]
    fn a_save_is_counted_until_its_results_are_reported() {
        let mut core = core();
        core.shard_ready((P, 0));
        check(&mut core, Pool::Serialization, 0, "serialize [0]");
        assert!(serialized(&mut core, Some(save(2, 50)), None, Vec::new()).is_none());
        begin(&mut core, 1);
        assert!(serialized(&mut core, Some(save(1, 7)), None, Vec::new()).is_none());
        assert_eq!((core.captures, core.bytes), (3, 57));
        check(&mut core, Pool::Storage, 0, "save 2");
        check(&mut core, Pool::Storage, 0, "save 1");
        check(&mut core, Pool::Storage, 0, "wait");

        let (told, results) = mpsc::channel();
        let mut numbers = Vec::new();
        let runs: Vec<_> = [(2, 50), (1, 7)]
            .map(|(captures, bytes)| {
                let told = told.clone();
                core.saving(|number| {
                    numbers.push(number);
                    save(captures, bytes).prepare(move |results| told.send(results).unwrap())
                })
            })
            .into();
        assert_ne!(numbers[0], numbers[1]);
        runs[0].completed(0, SaveOutcome::Stored);
        runs[0].completed(1, SaveOutcome::Stored);
        assert!(core.saved(numbers[0], results.recv().unwrap()).is_none());
        assert_eq!(core.running.len(), 1);
        check(&mut core, Pool::Storage, 0, "report");
        assert_eq!(core.reporting, 1);
        assert!(core.reported(2, Some(Arc::new(vec![0; 50])), None, None, true).is_none());
        assert_eq!((core.reporting, core.captures, core.bytes), (0, 1, 7));
    }

    #[test]
    fn what_failed_waits_for_its_time_unless_the_storage_works_again() {
        let mut core = core();
        let again = |core: &mut Core, any_stored| {
            core.reporting = 1;
            let (again, given_up) = ((at(50), save(1, 5)), (at(50), Vec::new()));
            assert!(core.reported(0, None, Some(again), Some(given_up), any_stored).is_none());
        };
        again(&mut core, true);
        assert_eq!(core.gauges().delayed_batches, 2);
        check(&mut core, Pool::Storage, 49, "wait until 50");
        check(&mut core, Pool::Storage, 50, "save 1");
        check(&mut core, Pool::Storage, 51, "give back");
        check(&mut core, Pool::Storage, 51, "wait");
        again(&mut core, false);
        core.reporting = 1;
        assert!(core.reported(0, None, None, None, true).is_none());
        check(&mut core, Pool::Storage, 0, "give back");
        check(&mut core, Pool::Storage, 0, "save 1");
        again(&mut core, false);
        core.add_flush(flush(at(99)));
        check(&mut core, Pool::Storage, 0, "give back");
        check(&mut core, Pool::Storage, 0, "save 1");
    }

    #[test]
    fn whoever_brings_states_saves_them_if_that_is_wished_for() {
        for (storage_overflow, expected) in [
            (Overflow::CallerRuns, "save 1"),
            (Overflow::Block, "wait"),
            (Overflow::Reject, "wait"),
        ] {
            let mut core = core_with(CoreLimits { storage_overflow, ..limits() });
            core.saves.extend([save(1, 5), save(1, 5), save(1, 5)]);
            core.shard_ready((P, 0));
            check(&mut core, Pool::Serialization, 0, expected);
        }
    }

    #[test]
    fn flushes_are_looked_at_when_something_has_ended_and_when_their_time_is_up() {
        let mut core = core();
        check(&mut core, Pool::Timing, 0, "wait");
        core.add_flush(flush(at(60)));
        core.add_flush(flush(at(80)));
        check(&mut core, Pool::Timing, 0, "check 2");
        core.flushes_go_on(vec![flush(at(60)), flush(at(80))]);
        check(&mut core, Pool::Timing, 59, "wait until 60");
        core.look_at_flushes();
        check(&mut core, Pool::Timing, 59, "check 2");
        core.flushes_go_on(vec![flush(at(60))]);
        check(&mut core, Pool::Timing, 60, "check 1");
        // Something has ended while they were looked at.
        begin(&mut core, 1);
        assert!(serialized(&mut core, None, None, Vec::new()).is_none());
        core.flushes_go_on(vec![flush(at(90))]);
        check(&mut core, Pool::Timing, 60, "check 1");
        check(&mut core, Pool::Timing, 99, "wait");
    }

    #[test]
    fn fetches_that_wait_for_too_long_and_those_behind_a_call_that_hangs_are_seen_to() {
        let mut core = core();
        for key in 0..2_u8 {
            let id = CheckpointId::new("p", [key]).unwrap();
            let fetch = StateFetch::new(id, FetchVersion::Newest, Caller::MustNotWait, |_| {});
            core.fetches.add(fetch, at(0));
        }
        check(&mut core, Pool::Fetching, 0, "fetch");
        check(&mut core, Pool::Timing, 9, "wait until 10");
        check(&mut core, Pool::Timing, 10, "replace 1");
        check(&mut core, Pool::Timing, 99, "wait until 100");
        check(&mut core, Pool::Timing, 100, "expire 2");
        check(&mut core, Pool::Timing, 100, "wait");
    }

    #[test]
    fn a_few_buffers_are_kept_of_those_that_are_not_too_large() {
        let mut core = core();
        let mut kept = |buffers: &[usize]| {
            for capacity in buffers {
                begin(&mut core, 1);
                assert!(
                    serialized(&mut core, None, Some(Vec::with_capacity(*capacity)), vec![])
                        .is_none()
                );
            }
            core.buffers.len()
        };
        assert_eq!(kept(&[0, 81, 1000]), 0);
        assert_eq!(kept(&[1, 80]), 2);
        assert_eq!(kept(&[40, 40, 40]), BUFFERS_MAX);
    }

    #[test]
    fn the_end_takes_everything_and_lets_the_threads_end() {
        let mut core = core();
        assert!(core.is_running());
        core.shard_ready((P, 0));
        core.shard_has_mail((P, 1));
        core.tick_at(P, at(0));
        core.add_flush(flush(at(60)));
        core.saves.push_back(save(2, 50));
        core.reporting = 1;
        assert!(core.reported(0, None, Some((at(50), save(3, 5))), None, false).is_none());
        let stopped = core.stop(false);
        let waiting: Vec<_> = stopped.waiting.iter().map(|(_, savings)| savings.len()).collect();
        assert_eq!((waiting, stopped.flushes.len(), core.is_running()), (vec![2, 3], 1, false));
        // Whoever waits in a shard is told before its thread ends.
        check(&mut core, Pool::Serialization, 0, "attend 1");
        core.not_attended((P, 1));
        for pool in [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing] {
            check(&mut core, pool, 99, "exit");
        }
        core.shard_ready((P, 0));
        check(&mut core, Pool::Serialization, 0, "exit");
        begin(&mut core, 1);
        assert!(serialized(&mut core, Some(save(1, 5)), None, Vec::new()).is_some());
    }
}
