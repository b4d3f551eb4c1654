//! What the application's own code may do wrong (faults I): panic, take for ever, forget what it
//! encoded, lose interest, come back from where it was called.
//!
//! I6, a process that aborts, is the same as one that is killed: `file_system::kill`. Panics in
//! events, hooks and callbacks are in `panics` and in `scenarios::saving`, re-entrancy in
//! `reentrancy`.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use checkpoint::{
    Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Pool, ProcessError, RestoreFailure,
    SaveFailure, SavingState, Schema, StorageErrorKind, TestClock,
};

use crate::support::{
    Action, FAIL_SAFE, FaultyStorage, Gate, Results, SaveFault, Scripted, counters, eventually,
    every, manual, scripted, settings,
};

/// What `decode` and `apply` make of what `encode` wrote.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Wrong {
    #[default]
    Nothing,
    /// `encode` writes less than `decode` reads.
    Short,
    /// `apply` panics.
    ApplyPanics,
}

static DECODES_THAT_PANIC: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Faulty(Wrong, u64);

impl Checkpointable for Faulty {
    type Staged = (u64, Wrong);
    const MIN_SIZE: usize = 8;
    const SCHEMA: &'static Schema = u64::SCHEMA;

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self.0 {
            Wrong::Short => 7_u32.encode(encoder),
            _ => self.1.encode(encoder),
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
        let value = <u64 as Checkpointable>::decode(decoder)?;
        if DECODES_THAT_PANIC.load(Ordering::Relaxed) > 0 {
            DECODES_THAT_PANIC.fetch_sub(1, Ordering::Relaxed);
            match value {
                1 => panic!("decode was told to panic"),
                2 => return Ok((value, Wrong::ApplyPanics)),
                _ => {}
            }
        }
        Ok((value, Wrong::Nothing))
    }

    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.0.encode(encoder)
    }

    fn apply(&mut self, (value, wrong): Self::Staged) {
        assert_ne!(wrong, Wrong::ApplyPanics, "apply was told to panic");
        self.1 = value;
    }
}

/// I2: the event gets an error, what is stored stays, and the pool lives.
#[test]
fn a_decode_or_an_apply_that_panics_is_an_error_of_the_event_which_can_be_tried_again() {
    let storage = FaultyStorage::new();
    let open = || {
        let keeper = settings(&storage).build().unwrap();
        let config = manual().build().unwrap();
        let prototype = keeper
            .prototype::<String, Faulty>("faulty")
            .config(config)
            .create(|_| Faulty::default())
            .build()
            .unwrap();
        (keeper, prototype)
    };
    let (keeper, prototype) = open();
    for (key, value) in [("decode", 1), ("apply", 2), ("good", 3)] {
        prototype.process(key, |pe| pe.1 = value).unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();
    let (keeper, prototype) = open();
    for key in ["decode", "apply"] {
        DECODES_THAT_PANIC.store(1, Ordering::Relaxed);
        match prototype.process(key, |_| ()) {
            Err(ProcessError::Restore(error)) => {
                assert!(matches!(error.reason(), RestoreFailure::Panicked), "{key}: {error}");
            }
            other => panic!("{key}: {other:?}"),
        }
        assert!(prototype.is_empty(), "{key}");
    }
    for (key, value) in [("decode", 1), ("apply", 2), ("good", 3)] {
        assert_eq!(prototype.read(key, |pe| pe.1).unwrap(), value);
    }
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 0);
}

/// I3: with more than one thread that encodes, others are stored meanwhile, also by one thread of
/// the storage; it is not acknowledged before, and is told of.
#[test]
fn an_encode_that_takes_for_ever_holds_up_its_own_shard_only_and_is_not_acknowledged() {
    let storage = FaultyStorage::new();
    let settings = settings(&storage)
        .serialization_max_threads(2.try_into().unwrap())
        .storage_max_threads(1.try_into().unwrap());
    let clock = Arc::new(TestClock::new());
    let keeper = settings.clock(clock.clone()).build().unwrap();
    let slow = scripted(&keeper, manual());
    let others = counters(&keeper, every(1));
    let gate = Gate::new();
    let waits = gate.clone();
    let on_encode: Action = Arc::new(move || waits.pass());
    slow.process("a", |pe| pe.on_encode = Some(on_encode)).unwrap();
    let ticket = slow.checkpoint("a").unwrap();
    gate.reached();
    for number in 0..100 {
        others.process(&format!("{number}"), |pe| pe.count = 1).unwrap();
    }
    storage.until("the others are stored", |seen| seen.stored.len() == 100);
    assert!(ticket.outcome().is_none());
    assert_eq!(keeper.stats().serializations_slow, 0);
    clock.advance(Duration::from_secs(10));
    eventually("it is told of", || keeper.stats().serializations_slow == 1);
    gate.open();
    ticket.wait().unwrap();
    eventually("it is over", || keeper.stats().serializations_slow == 0);
    keeper.close(FAIL_SAFE).unwrap();
}

/// E10: it waits until the state is written down, and is in the next one.
#[test]
fn an_event_that_comes_while_its_pe_is_encoded_is_not_in_that_state_and_not_lost() {
    let storage = FaultyStorage::keeping_versions(3);
    let keeper = settings(&storage).build().unwrap();
    let prototype = scripted(&keeper, manual());
    let gate = Gate::new();
    let waits = gate.clone();
    let on_encode: Action = Arc::new(move || waits.pass());
    let first = |pe: &mut Scripted| (pe.value, pe.on_encode) = (1, Some(on_encode));
    prototype.process("a", first).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    gate.reached();
    let encoded = std::thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("a", |pe| pe.value += 1));
        gate.open();
        event.join().unwrap().unwrap();
        ticket.wait().unwrap().unwrap()
    });
    keeper.close(FAIL_SAFE).unwrap();
    let keeper = settings(&storage).build().unwrap();
    let prototype = scripted(&keeper, manual());
    assert_eq!(prototype.read("a", |pe| pe.value).unwrap(), 2);
    prototype.restore_version("a", encoded).unwrap().wait().unwrap();
    assert_eq!(prototype.read("a", |pe| pe.value).unwrap(), 1);
}

/// I4: found when it is stored, in debug builds, and not after the first crash.
#[cfg(debug_assertions)]
#[test]
fn an_encode_that_decode_does_not_understand_is_reported_and_not_stored() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let config = manual().build().unwrap();
    let prototype = keeper
        .prototype::<String, Faulty>("faulty")
        .config(config)
        .create(|_| Faulty::default())
        .build()
        .unwrap();
    prototype.process("a", |pe| pe.0 = Wrong::Short).unwrap();
    let error = prototype.checkpoint("a").unwrap().wait().unwrap_err();
    assert!(matches!(error.reason(), SaveFailure::NotRestorable(_)), "{error}");
    assert_eq!(storage.seen().saves, 0);
    prototype.process("a", |pe| pe.0 = Wrong::Nothing).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    // Callbacks are told after whoever waits for the ticket.
    results.until("both were reported", |results| results.len() == 2);
    assert_eq!(results.counts(), (1, 1));
}

/// I5: whenever a future is dropped, its event has run once or not at all, and the PE goes on.
#[test]
fn a_future_dropped_after_any_number_of_polls_has_run_once_or_not_at_all() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    let ran = AtomicUsize::new(0);
    // These are there already; the others have to be fetched first.
    for number in 0..50 {
        prototype.read(&format!("key {number}"), |_| ()).unwrap();
    }
    for round in 0..200 {
        let key = format!("key {}", round % 100);
        let polls = round % 7;
        let mut context = Context::from_waker(Waker::noop());
        let mut event = pin!(prototype.process_async(&key, |pe| {
            pe.count += 1;
            ran.fetch_add(1, Ordering::Relaxed);
        }));
        for _ in 0..polls {
            if let Poll::Ready(result) = event.as_mut().poll(&mut context) {
                result.unwrap();
                break;
            }
            std::thread::yield_now();
        }
    }
    let mut counted = 0;
    for number in 0..100 {
        counted += prototype.read(&format!("key {number}"), |pe| pe.count).unwrap();
    }
    let ran = ran.load(Ordering::Relaxed);
    assert!(ran > 0);
    assert_eq!(counted, ran as u64);
    // A ticket that is dropped takes nothing back, and a flush that is dropped holds nothing up.
    prototype.process("key 0", |pe| pe.count += 1).unwrap();
    drop(prototype.checkpoint("key 0").unwrap());
    drop(prototype.flush_async(FAIL_SAFE));
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
}

/// I7: a callback that asks for another checkpoint gets one, and threads of no runtime may ask.
#[test]
fn a_checkpoint_asked_for_in_a_callback_is_made_and_nothing_waits_for_itself() {
    let storage = FaultyStorage::new();
    storage.on_save(1, SaveFault::UnknownLost);
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, manual());
    let (asks, answers) = (prototype.clone(), Arc::new(AtomicUsize::new(0)));
    let count = answers.clone();
    results.then(move |result| {
        if result.id.key() == b"a" && count.fetch_add(1, Ordering::Relaxed) == 0 {
            // Neither waits for the other.
            asks.process("b", |pe| pe.count = 7).unwrap();
            drop(asks.checkpoint("b").unwrap());
            drop(asks.checkpoint("a").unwrap());
        }
    });
    prototype.read("b", |_| ()).unwrap();
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    eventually("both callbacks", || results.all().iter().any(|result| result.id.key() == b"b"));
    assert_eq!(prototype.read("b", |pe| pe.count).unwrap(), 7);
    keeper.close(FAIL_SAFE).unwrap();
    results.check_once_each();
}

/// B3: whoever is told that the storage fails, and that it stores again, may panic.
#[test]
fn a_callback_for_the_saving_state_that_panics_is_counted_and_harms_nobody() {
    let storage = FaultyStorage::new().knowing_absence();
    let (clock, results) = (Arc::new(TestClock::new()), Results::new());
    let told: Arc<Mutex<Vec<SavingState>>> = Arc::default();
    let keep = told.clone();
    let keeper = settings(&storage)
        .clock(clock.clone())
        .storage_callback_factory(results.clone())
        .on_saving_state(move |state| {
            keep.lock().unwrap().push(state);
            panic!("the callback was told to panic");
        })
        .stepped()
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    let pass = || {
        let pools = [Pool::Serialization, Pool::Storage, Pool::Timing];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
        clock.advance(Duration::from_secs(2));
    };
    let kind = StorageErrorKind::Unavailable;
    let mut expected = Vec::new();
    // Again: nothing of the first panic is left.
    for count in 1..=2 {
        storage.on_save(3, SaveFault::NotStored(kind));
        prototype.process("a", |pe| pe.count = count).unwrap();
        let ticket = prototype.checkpoint("a").unwrap();
        for _ in 0..6 {
            pass();
        }
        ticket.outcome().expect("it is stored").unwrap();
        expected.extend([SavingState::Failing { kind }, SavingState::Working]);
        assert_eq!(*told.lock().unwrap(), expected);
        let stats = keeper.stats();
        assert_eq!((stats.callback_panics, stats.saving), (2 * count, SavingState::Working));
        assert_eq!(results.counts(), (usize::try_from(count).unwrap(), 0));
    }
    results.check_once_each();
    keeper.close(Duration::ZERO).unwrap();
}
