//! A prototype runs over any framework by the same call; stores are not opened in another way (rule
//! 15).

use std::collections::HashMap;
use std::future::Future;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use checkpoint::{
    Alarm, BuildError, Caller, CaptureBatch, CaptureLimits, CaptureProgress, CheckpointId,
    CheckpointSource, CheckpointingConfig, CheckpointingFramework, Clock, NewPrototype,
    NoOpCheckpointingFramework, Overloaded, Partitioner, PePrototype, PeStatus, ProcessError,
    PrototypeIndex, Recover, RegisterError, Registration, SaveFailure, SettlementOutcome,
    StateFetch, TestClock, Timestamp,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, Scripted, counted, counters, every, manual, settings,
};

/// Stores each due PE in a map, at the next call of `run`.
#[derive(Default)]
struct MapFramework {
    states: Mutex<HashMap<CheckpointId, Vec<u8>>>,
    source: Mutex<Option<Arc<dyn CheckpointSource>>>,
    shards: Mutex<Vec<usize>>,
    /// No PE is due, however many events it had.
    is_patient: AtomicBool,
    /// In place of the system's.
    clock: Option<Arc<Ticking>>,
}

impl MapFramework {
    fn run(&self) {
        let source = self.source.lock().unwrap().clone().expect("a prototype is attached");
        let mut shards = std::mem::take(&mut *self.shards.lock().unwrap());
        shards.dedup();
        for shard in shards {
            let mut batch = CaptureBatch::new(CaptureLimits::default());
            source.capture(shard, &mut batch);
            batch.seal();
            let mut settlements = Vec::new();
            for capture in batch.captures() {
                let id = capture.id(batch.bytes()).to_owned();
                let record = capture.record(batch.bytes()).to_vec();
                self.states.lock().unwrap().insert(id, record);
                settlements.push(capture.settle(SettlementOutcome::Stored));
            }
            source.settle(shard, settlements);
        }
    }
}

impl CheckpointingFramework for MapFramework {
    fn register(&self, prototype: &NewPrototype<'_>) -> Result<Registration, RegisterError> {
        assert_eq!((prototype.name, prototype.key_type), ("counter", "string"));
        let registration = Registration::new(PrototypeIndex(0));
        Ok(match &self.clock {
            Some(clock) => registration.with_clock(clock.clone()),
            None => registration,
        })
    }

    fn attach(&self, _: PrototypeIndex, source: Arc<dyn CheckpointSource>) {
        *self.source.lock().unwrap() = Some(source);
    }

    fn is_checkpointable(&self, config: &CheckpointingConfig, pe: &PeStatus) -> bool {
        let is_due = |n: NonZeroU64| pe.events_since_capture >= n.get();
        !self.is_patient.load(Ordering::Relaxed) && config.mode().event_count().is_some_and(is_due)
    }

    fn save_state(&self, _: PrototypeIndex, shard: usize) {
        self.shards.lock().unwrap().push(shard);
    }

    fn look_after(&self, index: PrototypeIndex, shard: usize) {
        self.save_state(index, shard);
    }

    fn fetch_serialized_state(&self, fetch: StateFetch) {
        let state = self.states.lock().unwrap().get(fetch.id()).cloned();
        fetch.decide(Ok(state));
    }

    fn fetch_serialized_states(&self, fetches: Vec<StateFetch>) -> Vec<StateFetch> {
        fetches
    }

    fn call_at(&self, _: PrototypeIndex, _: Timestamp) {}

    fn relieve(&self, _: Caller) -> Result<(), Overloaded> {
        Ok(())
    }
}

fn over(framework: Arc<dyn CheckpointingFramework>) -> PePrototype<String, Counter> {
    PePrototype::builder(framework, "counter")
        .config(every(2).build().unwrap())
        .create(|_| Counter { count: 0, handle: 7 })
        .build()
        .unwrap()
}

#[test]
fn a_framework_of_ones_own_checkpoints_and_restores() {
    let framework = Arc::new(MapFramework::default());
    let prototype = over(framework.clone());
    for _ in 0..3 {
        prototype.process("a", |pe| pe.count += 1).unwrap();
    }
    let ticket = prototype.checkpoint("a").unwrap();
    assert!(ticket.outcome().is_none());
    framework.run();
    assert!(ticket.wait().unwrap().is_some());
    assert_eq!(prototype.evict("a").unwrap(), checkpoint::Eviction::Evicted);
    assert_eq!(prototype.read("a", |pe| (pe.count, pe.handle)).unwrap(), (3, 7));
}

/// The framework does not see what could not be captured.
#[test]
fn who_waits_for_what_cannot_be_captured_is_told_over_any_framework() {
    let framework = Arc::new(MapFramework::default());
    let prototype: PePrototype<String, Scripted> =
        PePrototype::builder(framework.clone(), "counter")
            .create(|_| Scripted::default())
            .build()
            .unwrap();
    let fails = |pe: &mut Scripted| pe.on_encode = Some(Arc::new(|| panic!("as the test wants")));
    let pending = prototype.process_pending("a", fails).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    framework.run();
    for outcome in [pending.outcome(), ticket.outcome().map(|outcome| outcome.map(|_| ()))] {
        let error = outcome.expect("it is known").unwrap_err();
        assert!(matches!(error.reason(), SaveFailure::EncodePanicked), "{error}");
    }
}

/// Time goes on by 30 us with each look.
#[derive(Debug, Default)]
struct Ticking(TestClock);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_micros(30));
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }

    fn sleep_until(&self, at: Timestamp) -> Option<Duration> {
        self.0.sleep_until(at)
    }

    fn watch(&self, alarm: Weak<dyn Alarm>) {
        self.0.watch(alarm);
    }
}

#[test]
fn e10_a_shard_is_held_for_a_capture_only_for_as_long_as_it_may_be() {
    let framework = Arc::new(MapFramework { clock: Some(Arc::default()), ..Default::default() });
    let prototype = PePrototype::<String, Counter>::builder(framework.clone(), "counter")
        .config(every(1).shards(1).build().unwrap())
        .create(|_| Counter { count: 0, handle: 7 })
        .build()
        .unwrap();
    for key in 0..200 {
        prototype.process(&key.to_string(), |pe| pe.count += 1).unwrap();
    }
    let source = framework.source.lock().unwrap().clone().unwrap();
    let mut captured = Vec::new();
    loop {
        let mut batch = CaptureBatch::new(CaptureLimits::default());
        let progress = source.capture(0, &mut batch);
        captured.push(batch.captures().len());
        if progress == CaptureProgress::Drained {
            break;
        }
    }
    // 100 us are over with the fourth look at the clock, and it is looked at after each eighth.
    assert_eq!(captured, [32, 32, 32, 32, 32, 32, 8]);
}

#[test]
fn a_framework_of_ones_own_says_when_a_pe_is_due() {
    let framework = Arc::new(MapFramework::default());
    framework.is_patient.store(true, Ordering::Relaxed);
    let prototype = over(framework.clone());
    for _ in 0..3 {
        prototype.process("a", |pe| pe.count += 1).unwrap();
    }
    assert!(framework.shards.lock().unwrap().is_empty());
    framework.is_patient.store(false, Ordering::Relaxed);
    prototype.process("a", |pe| pe.count += 1).unwrap();
    framework.run();
    assert_eq!(framework.states.lock().unwrap().len(), 1);
}

#[test]
fn over_the_framework_that_does_nothing_everything_works_and_nothing_is_stored() {
    let prototype = over(Arc::new(NoOpCheckpointingFramework::new()));
    for n in 1..=10 {
        assert_eq!(
            prototype
                .process("a", |pe| {
                    pe.count += 1;
                    pe.count
                })
                .unwrap(),
            n
        );
    }
    assert_eq!(prototype.checkpoint("a").unwrap().wait().unwrap(), None);
    assert!(prototype.flush(FAIL_SAFE).is_ok());
    prototype.pe("a").unwrap().count += 1;
    prototype.session().run([("a", ())], |pe, ()| pe.count += 1).unwrap();
    assert_eq!(pollster::block_on(prototype.process_async("a", |pe| pe.count)).unwrap(), 12);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        prototype.process("a", |_| panic!("the event was told to panic"))
    }));
    assert!(panicked.is_err());
    prototype.recover("a", Recover::Keep).unwrap();
    assert_eq!(prototype.remove("a").unwrap().wait().unwrap(), None);
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 0);
    prototype.evict("a").unwrap();
    assert!(prototype.is_empty());
}

#[test]
fn over_the_framework_that_does_nothing_a_tick_does_what_is_due_by_time() {
    const SECOND: Duration = Duration::from_secs(1);
    let clock = Arc::new(TestClock::new());
    let framework = Arc::new(NoOpCheckpointingFramework::with_clock(clock.clone()));
    let config = manual().idle_max(10 * SECOND).wait_max(5 * SECOND);
    let prototype = PePrototype::builder(framework.clone(), "counter")
        .config(config.build().unwrap())
        .create(|_: &String| Counter::default())
        .on_time(SECOND, |_, pe| pe.count += 1)
        .build()
        .unwrap();
    prototype.read("a", |_| ()).unwrap();
    let guard = prototype.pe("lent").unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut event = Box::pin(prototype.process_async("lent", |_| ()));
    assert!(event.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    clock.advance(SECOND);
    assert!(framework.tick().is_some_and(|next| next > clock.now()));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    clock.advance(4 * SECOND);
    framework.tick();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "its deadline has come");
    let result = event.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(result, Poll::Ready(Err(ProcessError::Busy { .. }))));
    drop((event, guard));
    clock.advance(20 * SECOND);
    framework.tick();
    assert!(prototype.is_empty(), "both were idle");
    drop(prototype);
    assert_eq!(framework.tick(), None);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct FirstByte;

impl Partitioner for FirstByte {
    fn name(&self) -> &'static str {
        "first byte"
    }

    fn partition(&self, key: &[u8], partitions: NonZeroU32) -> u32 {
        u32::from(key.first().copied().unwrap_or(0)) % partitions
    }
}

#[test]
fn a_store_is_not_opened_with_another_number_of_partitions_or_another_partitioner() {
    let storage = FaultyStorage::new();
    let four: NonZeroU32 = 4.try_into().unwrap();
    let keeper = settings(&storage).partitions(four).partitioner(FirstByte).build().unwrap();
    let prototype = counters(&keeper, manual());
    assert_eq!(prototype.partition_of("a"), u32::from(b'a') % 4);
    keeper.close(FAIL_SAFE).unwrap();
    let five = settings(&storage).partitions(5.try_into().unwrap()).partitioner(FirstByte).build();
    let other = settings(&storage).partitions(four).build();
    for refused in [five, other] {
        match refused {
            Err(error @ BuildError::Partitions { .. }) => {
                assert!(error.to_string().contains("4 first byte"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    settings(&storage).partitions(four).partitioner(FirstByte).build().unwrap();
}

#[test]
fn a_prototype_is_not_opened_with_keys_of_another_type_nor_twice() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let _first = counted(&keeper, "counter", manual());
    let again = keeper.prototype::<String, Counter>("counter").create(|_| Counter::default());
    assert!(matches!(again.build(), Err(RegisterError::NameTaken { .. })));
    keeper.close(FAIL_SAFE).unwrap();
    let keeper = settings(&storage).build().unwrap();
    let other = keeper.prototype::<u64, Counter>("counter").create(|_| Counter::default()).build();
    match other {
        Err(error @ RegisterError::KeyType { .. }) => {
            assert!(error.to_string().contains("string"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    counters(&keeper, manual());
}

#[test]
fn a_name_that_cannot_be_one_is_refused() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    for name in ["", "a\u{1}b", &"x".repeat(201)] {
        let refused = keeper.prototype::<String, u64>(name).create(|_| 0).build();
        assert!(matches!(refused, Err(RegisterError::InvalidName { .. })), "{name:?}");
    }
    keeper.prototype::<String, u64>("x".repeat(200)).create(|_| 0).build().unwrap();
}
