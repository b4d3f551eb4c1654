//! Seeded histories: sources feed PEs over a storage that fails, the process ends at any moment,
//! and whatever happened, each event is in its PE's state exactly once (G1 to G3, G7, T21).
//!
//! The PEs keep the events that they have seen: what is lost or doubled has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use checkpoint::{Checkpointable, RandomSource, SeededRandom, StorageErrorKind};
use checkpoint_tests::{Quota, first_seed};

use super::*;
use crate::support::{FetchFault, SaveFault, every, manual};

const KEYS: u64 = 4;
const EVENTS_MAX: u64 = 24;

/// What a PE has seen of events: source, position, and which of the event's steps.
#[derive(Checkpointable, Default, Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) events: Vec<(u8, u64, u8)>,
}

/// What is fed: position, and the key of each step, for each source.
type Inputs = Vec<Vec<(u64, Vec<String>)>>;

type Event = Pin<Box<dyn Future<Output = Result<Applied<()>, SourceError>>>>;

/// A process: all of it is gone when it ends.
struct Process {
    // First: what it holds ends with it.
    on_their_way: Vec<(usize, u64, Event)>,
    sources: Vec<Source>,
    prototype: PePrototype<String, Seen>,
    keeper: std::mem::ManuallyDrop<SafeKeeper>,
    clock: Arc<TestClock>,
    /// For each source the next of its input.
    next: Vec<usize>,
    failed: Vec<(usize, u64)>,
}

struct History {
    seed: u64,
    random: SeededRandom,
    inputs: Inputs,
    storage: FaultyStorage,
    config: fn() -> CheckpointingConfigBuilder,
    /// Events that somebody gave up: they may be there or not.
    skipped: BTreeSet<(u8, u64)>,
    safe: Vec<Option<u64>>,
    trace: Vec<String>,
}

fn name(source: usize) -> String {
    format!("input {source}")
}

impl History {
    fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let below = |n: u64| random.next_u64() % n;
        let inputs: Inputs = (0..=below(3))
            .map(|_| {
                let mut position = 0;
                let events = (0..below(EVENTS_MAX)).map(|_| {
                    position += 1 + below(3);
                    let steps = if below(4) == 0 { below(5) } else { 1 };
                    // Some keys are hot.
                    let key = |_| below(1 + below(KEYS)).to_string();
                    (position - 1, (0..steps).map(key).collect())
                });
                events.collect()
            })
            .collect();
        let configs: [fn() -> CheckpointingConfigBuilder; 3] = [|| every(1), || every(3), manual];
        let config = configs[usize::try_from(below(3)).unwrap()];
        let safe = vec![None; inputs.len()];
        Self {
            seed,
            inputs,
            storage: FaultyStorage::new(),
            config,
            skipped: BTreeSet::new(),
            safe,
            trace: Vec::new(),
            random,
        }
    }

    fn below(&self, n: u64) -> u64 {
        self.random.next_u64() % n
    }

    fn pick(&self, of: usize) -> usize {
        usize::try_from(self.below(of as u64)).unwrap()
    }

    fn start(&mut self) -> Process {
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&self.storage)
            .clock(clock.clone())
            .random(Arc::new(SeededRandom::new(self.random.next_u64())))
            .stepped()
            .build()
            .unwrap();
        let prototype = keeper
            .prototype("seen")
            .config((self.config)().build().unwrap())
            .create(|_| Seen::default())
            .build()
            .unwrap();
        let sources: Vec<_> =
            (0..self.inputs.len()).map(|at| keeper.source(&name(at)).unwrap()).collect();
        let next = (0..).zip(&sources).map(|(at, source)| self.first_of(at, source)).collect();
        for (at, source) in sources.iter().enumerate() {
            self.trace.push(format!("start: {at} from {:?}", source.resume_from()));
            self.check_safe(at, source.resume_from());
            assert!(source.safe_position() >= self.safe[at], "{}", self.shown());
        }
        Process {
            on_their_way: Vec::new(),
            sources,
            prototype,
            keeper: std::mem::ManuallyDrop::new(keeper),
            clock,
            next,
            failed: Vec::new(),
        }
    }

    /// What is safe ends with an event: whoever reads on there is at the beginning of another one.
    fn check_safe(&self, source: usize, safe: Option<u64>) {
        let is_event = |safe| self.inputs[source].iter().any(|(position, _)| *position == safe);
        assert!(safe.is_none_or(is_event), "no event of {source}: {safe:?}\n{}", self.shown());
    }

    /// The first event of an input that is to be fed.
    fn first_of(&self, at: usize, source: &Source) -> usize {
        let safe = source.resume_from();
        let is_done =
            |(position, _): &&(u64, Vec<String>)| safe.is_some_and(|safe| *position <= safe);
        self.inputs[at].iter().take_while(is_done).count()
    }

    fn shown(&self) -> String {
        format!("CHECKPOINT_SEED={}\n{:?}\n{}", self.seed, self.inputs, self.trace.join("\n"))
    }

    fn feed(&mut self, process: &mut Process, source: usize, position: u64) {
        let (_, keys) = self.inputs[source].iter().find(|(at, _)| *at == position).unwrap();
        self.trace.push(format!("feed {position} of {source} to {keys:?}"));
        let id = u8::try_from(source).unwrap();
        let see = |step| move |pe: &mut Seen| pe.events.push((id, position, step));
        let (feeds, prototype) = (&mut process.sources[source], &process.prototype);
        let event: Event = match &keys[..] {
            [key] => Box::pin(feeds.process_async(prototype, key, position, see(0))),
            keys => {
                let mut event = feeds.event(position);
                for (step, key) in (0..).zip(keys) {
                    event = event.on(prototype, key, see(step));
                }
                Box::pin(event.run_async())
            }
        };
        process.on_their_way.push((source, position, event));
    }

    fn poll(&mut self, process: &mut Process, at: usize) {
        let (source, position, event) = &mut process.on_their_way[at];
        let (source, position) = (*source, *position);
        match event.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return,
            Poll::Ready(Ok(applied)) => {
                self.trace.push(format!("{position} of {source}: {applied:?}"));
            }
            // It was on its way when the source was opened again, and has come to its end.
            Poll::Ready(Err(error @ SourceError::NotRising { .. })) => {
                self.trace.push(format!("{position} of {source}: {error}"));
            }
            Poll::Ready(Err(error)) => {
                self.trace.push(format!("{position} of {source}: {error}"));
                process.failed.push((source, position));
            }
        }
        drop(process.on_their_way.swap_remove(at));
    }

    /// Something goes wrong with the storage, soon.
    fn fail(&mut self) {
        let times = 1 + self.pick(3);
        let kind = StorageErrorKind::Unavailable;
        match self.below(6) {
            0 => self.storage.on_save(times, SaveFault::NotStored(kind)),
            1 => self.storage.on_save(times, SaveFault::UnknownLanded),
            2 => self.storage.on_save(times, SaveFault::UnknownLost),
            3 => self.storage.on_save(times, SaveFault::Late),
            4 => self.storage.on_save(times, SaveFault::Dropped),
            _ => self.storage.on_fetch(times, FetchFault::Failed(kind)),
        }
    }

    /// Does something; returns whether the process goes on.
    fn act(&mut self, process: &mut Process) -> bool {
        match self.below(100) {
            0..30 => {
                let source = self.pick(self.inputs.len());
                if let Some((position, _)) = self.inputs[source].get(process.next[source]) {
                    process.next[source] += 1;
                    self.feed(process, source, *position);
                }
            }
            30..60 if !process.on_their_way.is_empty() => {
                self.poll(process, self.pick(process.on_their_way.len()));
            }
            60..64 if !process.failed.is_empty() => {
                let (source, position) =
                    process.failed.swap_remove(self.pick(process.failed.len()));
                self.feed(process, source, position);
            }
            64 if !process.failed.is_empty() => {
                let (source, position) =
                    process.failed.swap_remove(self.pick(process.failed.len()));
                self.trace.push(format!("skip {position} of {source}"));
                match process.sources[source].skip(position) {
                    Ok(()) => {
                        self.skipped.insert((u8::try_from(source).unwrap(), position));
                    }
                    // It is on its way since before the source was opened again.
                    Err(SourceError::Running { .. }) => process.failed.push((source, position)),
                    // That one came to its end.
                    Err(SourceError::NotFailed { .. }) => {}
                    Err(error) => panic!("{error}\n{}", self.shown()),
                }
            }
            65 if !process.on_their_way.is_empty() => {
                let at = self.pick(process.on_their_way.len());
                let (source, position, _event) = process.on_their_way.swap_remove(at);
                self.trace.push(format!("cancel {position} of {source}"));
                process.failed.push((source, position));
            }
            66..85 => {
                let pools = [Pool::Timing, Pool::Serialization, Pool::Storage, Pool::Fetching];
                process.keeper.step(pools[self.pick(4)]);
            }
            85..91 => {
                let millis = 1 + self.below(1200);
                process.clock.advance(Duration::from_millis(millis));
            }
            91..93 => self.storage.complete_late(),
            93..95 => self.fail(),
            95..97 => {
                let key = self.below(KEYS).to_string();
                // Whatever comes of it.
                let _evicted = process.prototype.evict(&key);
            }
            98 => {
                let source = self.pick(self.inputs.len());
                self.trace.push(format!("open {source} again"));
                drop(process.sources.remove(source));
                process.sources.insert(source, process.keeper.source(&name(source)).unwrap());
                process.next[source] = self.first_of(source, &process.sources[source]);
                // Those are met on the way.
                process.failed.retain(|(of, _)| *of != source);
            }
            97 => {
                self.trace.push("crash".to_owned());
                return false;
            }
            _ => {}
        }
        for (at, source) in process.sources.iter().enumerate() {
            let safe = source.safe_position();
            assert!(safe >= self.safe[at], "what was safe is not\n{}", self.shown());
            self.check_safe(at, safe);
            self.safe[at] = safe;
        }
        true
    }

    /// Feeds all that is left, over a storage that works, and ends in order.
    fn finish(&mut self) {
        self.storage.heal();
        self.storage.complete_late();
        let mut process = self.start();
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 100_000, "it does not end\n{}", self.shown());
            for source in 0..self.inputs.len() {
                if let Some((position, _)) = self.inputs[source].get(process.next[source]) {
                    process.next[source] += 1;
                    self.feed(&mut process, source, *position);
                }
            }
            for (source, position) in std::mem::take(&mut process.failed) {
                self.feed(&mut process, source, position);
            }
            let mut at = 0;
            while at < process.on_their_way.len() {
                let before = process.on_their_way.len();
                self.poll(&mut process, at);
                at += usize::from(process.on_their_way.len() == before);
            }
            let pools = [Pool::Timing, Pool::Serialization, Pool::Storage, Pool::Fetching];
            while pools.into_iter().any(|pool| process.keeper.step(pool)) {}
            process.clock.advance(Duration::from_millis(10));
            let is_fed = process.next.iter().zip(&self.inputs).all(|(at, all)| *at == all.len());
            if is_fed && process.on_their_way.is_empty() && process.failed.is_empty() {
                break;
            }
        }
        process.keeper.close(FAIL_SAFE).unwrap();
        for (source, input) in process.sources.iter().zip(&self.inputs) {
            let last = input.last().map(|(position, _)| *position);
            assert_eq!(source.safe_position(), last, "{}", self.shown());
        }
        self.check();
    }

    /// Compares what is stored with a plain loop over the inputs.
    fn check(&mut self) {
        let process = self.start();
        let mut expected: BTreeMap<&str, Vec<(u8, u64, u8)>> = BTreeMap::new();
        for (source, input) in (0..).zip(&self.inputs) {
            for (position, keys) in input {
                for (step, key) in (0..).zip(keys) {
                    expected.entry(key).or_default().push((source, *position, step));
                }
            }
        }
        for key in (0..KEYS).map(|key| key.to_string()) {
            let mut reading = process.prototype.read_async(&key, |pe: &Seen| pe.events.clone());
            let events = loop {
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(&mut reading).poll(&mut context) {
                    Poll::Ready(events) => break events.unwrap(),
                    Poll::Pending => process.keeper.step(Pool::Fetching),
                };
            };
            let expected = expected.remove(&*key).unwrap_or_default();
            for source in 0..u8::try_from(self.inputs.len()).unwrap() {
                let of = |all: &[(u8, u64, u8)]| -> Vec<(u8, u64, u8)> {
                    let of = all.iter().filter(|(of, ..)| *of == source);
                    of.filter(|(of, at, _)| !self.skipped.contains(&(*of, *at))).copied().collect()
                };
                assert_eq!(of(&events), of(&expected), "PE {key}\n{}", self.shown());
            }
            let once: BTreeSet<_> = events.iter().collect();
            assert_eq!(once.len(), events.len(), "doubled in PE {key}\n{}", self.shown());
        }
    }
}

fn run(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..1 + history.below(6) {
        let mut process = history.start();
        for _ in 0..history.below(400) {
            if !history.act(&mut process) {
                break;
            }
        }
        history.trace.push("the process ends".to_owned());
        // What was with the storage may still land, or never.
        match history.below(2) {
            0 => history.storage.complete_late(),
            _ => history.storage.heal(),
        }
    }
    history.finish();
}

#[test]
fn each_event_is_in_the_state_exactly_once() {
    let first = first_seed();
    for seed in first..first + Quota::SOURCE_HISTORIES.get() {
        run(seed);
    }
}
