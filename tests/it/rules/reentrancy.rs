//! User code that runs under a shard's lock gets an error from every way in, and never waits for
//! itself.

use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use checkpoint::{
    PePrototype, ProcessError, Recover, RunError, SafeKeeper, SaveFailure, StateVersion, TestClock,
};

use crate::support::{
    Action, FAIL_SAFE, FaultyStorage, FetchFault, Gate, Results, SaveFault, Scripted, eventually,
    every, manual, moving_on, scripted, settings,
};

const ZERO: Duration = Duration::ZERO;

type Prototype = PePrototype<String, Scripted>;

fn is_reentrant<T>(result: Result<T, ProcessError>) -> bool {
    matches!(result, Err(ProcessError::Reentrant { .. }))
}

/// Tries each way in, on the PE itself and on another one, and names those that were let in.
fn let_in(prototype: &Prototype) -> Vec<&'static str> {
    let mut let_in = Vec::new();
    for key in ["a", "b"] {
        let event = [(key, ())];
        let run = prototype.session().run(event, |_, ()| ());
        let run = matches!(run, Err(RunError { error: ProcessError::Reentrant { .. }, .. }));
        let version = StateVersion::new(1, 1);
        let tried = [
            ("process", is_reentrant(prototype.process(key, |_| ()))),
            ("try_process", is_reentrant(prototype.try_process(key, |_| Ok::<_, ()>(())))),
            ("read", is_reentrant(prototype.read(key, |_| ()))),
            ("session", run),
            ("pe", is_reentrant(prototype.pe(key))),
            ("checkpoint", is_reentrant(prototype.checkpoint(key))),
            (
                "process_async",
                is_reentrant(pollster::block_on(prototype.process_async(key, |_| ()))),
            ),
            ("pe_async", is_reentrant(pollster::block_on(prototype.pe_async(key)))),
            ("checkpoint_async", is_reentrant(prototype.checkpoint_async(key))),
            ("evict", is_reentrant(prototype.evict(key))),
            ("remove", is_reentrant(prototype.remove(key))),
            ("reset", is_reentrant(prototype.reset(key))),
            ("recover", is_reentrant(prototype.recover(key, Recover::Keep))),
            ("restore_version", is_reentrant(prototype.restore_version(key, version))),
            ("for_each", is_reentrant(prototype.for_each(|_, _| ()))),
        ];
        let_in.extend(tried.iter().filter(|(_, refused)| !refused).map(|(name, _)| *name));
    }
    let_in
}

struct Fixture {
    keeper: SafeKeeper,
    prototype: Prototype,
}

fn fixture() -> Fixture {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = scripted(&keeper, manual());
    for key in ["a", "b"] {
        prototype.process(key, |pe| pe.value = 1).unwrap();
    }
    Fixture { keeper, prototype }
}

#[test]
fn every_way_in_is_refused_from_inside_process() {
    let Fixture { keeper: _keeper, prototype } = fixture();
    assert_eq!(prototype.process("a", |_| let_in(&prototype)).unwrap(), Vec::<&str>::new());
}

#[test]
fn every_way_in_is_refused_from_inside_try_process_and_read() {
    let Fixture { keeper: _keeper, prototype } = fixture();
    let tried = prototype.try_process("a", |_| Ok::<_, ()>(let_in(&prototype)));
    assert_eq!(tried.unwrap().unwrap(), Vec::<&str>::new());
    assert_eq!(prototype.read("a", |_| let_in(&prototype)).unwrap(), Vec::<&str>::new());
}

#[test]
fn every_way_in_is_refused_from_inside_a_session_and_its_iterator() {
    let Fixture { keeper: _keeper, prototype } = fixture();
    let mut found = Vec::new();
    prototype.session().run([("a", ())], |_, ()| found.extend(let_in(&prototype))).unwrap();
    assert_eq!(found, Vec::<&str>::new());
    // The second event is asked for while the shard of the first one is held.
    let events = ["a", "b"].into_iter().map(|key| {
        if key == "b" {
            assert_eq!(let_in(&prototype), Vec::<&str>::new());
        }
        (key, ())
    });
    prototype.session().run(events, |_, ()| ()).unwrap();
}

#[test]
fn every_way_in_is_refused_from_inside_process_async() {
    let Fixture { keeper: _keeper, prototype } = fixture();
    let found = pollster::block_on(prototype.process_async("a", |_| let_in(&prototype)));
    assert_eq!(found.unwrap(), Vec::<&str>::new());
}

#[test]
fn every_way_in_is_refused_from_inside_for_each() {
    let Fixture { keeper: _keeper, prototype } = fixture();
    let mut found = Vec::new();
    prototype.for_each(|_, _| found.extend(let_in(&prototype))).unwrap();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn every_way_in_is_refused_from_inside_encode() {
    let Fixture { keeper, prototype } = fixture();
    let found = Arc::new(Mutex::new(None));
    let (inside, prototype_inside) = (found.clone(), prototype.clone());
    let action: Action =
        Arc::new(move || *inside.lock().unwrap() = Some(let_in(&prototype_inside)));
    prototype.process("a", |pe| pe.on_encode = Some(action)).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    assert_eq!(found.lock().unwrap().take(), Some(Vec::new()));
    prototype.process("a", |pe| pe.on_encode = None).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn every_way_in_is_refused_from_inside_a_periodic_function() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).build().unwrap();
    let myself: Arc<OnceLock<Prototype>> = Arc::default();
    let found = Arc::new(Mutex::new(Vec::new()));
    let (inside, seen) = (myself.clone(), found.clone());
    let prototype = keeper
        .prototype::<String, Scripted>("scripted")
        .create(|_| Scripted::default())
        .on_time(Duration::from_secs(1), move |_, pe| {
            pe.value += 1;
            seen.lock().unwrap().extend(inside.get().map(let_in));
        })
        .build()
        .unwrap();
    assert!(myself.set(prototype.clone()).is_ok());
    prototype.process("a", |_| ()).unwrap();
    moving_on(&clock, Duration::from_secs(1), "the function runs", || {
        !found.lock().unwrap().is_empty()
    });
    assert!(found.lock().unwrap().iter().all(Vec::is_empty), "{found:?}");
    assert!(prototype.read("a", |pe| pe.value).unwrap() > 0);
}

#[test]
fn events_of_another_prototype_are_refused_from_inside_an_event_too() {
    let Fixture { keeper, prototype } = fixture();
    let other = keeper.prototype::<u64, u64>("other").create(|_| 0).build().unwrap();
    let refused = prototype.process("a", |_| is_reentrant(other.process(1, |n| *n += 1)));
    assert!(refused.unwrap());
}

#[test]
fn waiting_for_a_ticket_inside_an_event_is_an_error_at_once() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = scripted(&keeper, manual());
    for key in ["a", "b"] {
        prototype.process(key, |pe| pe.value = 1).unwrap();
    }
    let gate = Gate::new();
    storage.on_save_of("a", 1, SaveFault::Held(gate.clone()));
    let ticket = prototype.checkpoint("a").unwrap();
    let outcome = prototype.process("b", |_| ticket.wait()).unwrap();
    assert!(matches!(outcome.unwrap_err().reason(), SaveFailure::MustNotWait));
    gate.open();
}

#[test]
fn listing_and_flushing_inside_an_event_end_at_once() {
    let Fixture { keeper, prototype } = fixture();
    prototype
        .process("a", |pe| {
            pe.value = 2;
            assert!(prototype.ids().is_err());
            assert!(prototype.keys().is_err());
            assert!(prototype.flush(ZERO).is_err());
            assert!(keeper.flush(ZERO).is_err());
            assert_eq!(keeper.stats().poisoned, 0);
        })
        .unwrap();
    keeper.flush(FAIL_SAFE).unwrap();
}

#[test]
fn closing_a_keeper_inside_an_event_ends_with_an_error_and_can_be_done_again() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = scripted(&keeper, manual());
    prototype
        .process("a", |pe| {
            pe.value = 2;
            assert!(keeper.close(ZERO).is_err());
        })
        .unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().stored.len(), 1);
}

#[test]
fn the_factory_and_the_hooks_may_send_events_to_other_pes() {
    let keeper = settings(&FaultyStorage::new().knowing_absence()).build().unwrap();
    let total = keeper.prototype::<u64, u64>("total").create(|_| 0).build().unwrap();
    let add = |n| {
        let total = total.clone();
        move || total.process(0, |pe| *pe += n).unwrap()
    };
    let (made, created, removed) = (add(1), add(10), add(100));
    let prototype = keeper
        .prototype::<String, u64>("parts")
        .create(move |_| {
            made();
            0
        })
        .on_create(move |_, _| created())
        .on_remove(move |_, _| removed())
        .build()
        .unwrap();
    prototype.process("a", |pe| *pe = 1).unwrap();
    prototype.session().run([("b", ()), ("a", ())], |_, ()| ()).unwrap();
    prototype.remove("a").unwrap().wait().unwrap();
    assert_eq!(total.read(0, |n| *n).unwrap(), 122);
}

#[test]
fn a_callback_may_ask_for_checkpoints_and_never_waits() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = scripted(&keeper, every(1));
    prototype.process("b", |pe| pe.value = 1).unwrap();
    let found = Arc::new(Mutex::new(Vec::new()));
    let (inside, seen) = (prototype.clone(), found.clone());
    results.then(move |result| {
        if result.id.key() == b"a" {
            // Resident: runs. Its checkpoint: is taken on. Waiting for it: is refused.
            inside.process("b", |pe| pe.value += 1).unwrap();
            let ticket = inside.checkpoint("b").unwrap();
            let waited = ticket.wait_timeout(FAIL_SAFE);
            assert!(is_reentrant(inside.process("absent", |_| ())));
            seen.lock().unwrap().push(waited);
        }
    });
    let gate = Gate::new();
    storage.on_fetch_of("absent", 1, FetchFault::Held(gate.clone()));
    prototype.process("a", |pe| pe.value = 1).unwrap();
    eventually("the callback has run", || !found.lock().unwrap().is_empty());
    gate.open();
    let waited = found.lock().unwrap().remove(0).expect("no time passes");
    assert!(matches!(waited.unwrap_err().reason(), SaveFailure::MustNotWait));
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(keeper.stats().callback_panics, 0);
}

#[test]
fn what_is_dropped_during_a_session_may_send_events_to_the_same_shards() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = scripted(&keeper, manual().shards(64));
    let keys: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    let told = Arc::new(Mutex::new(0));
    let (inside, count) = (prototype.clone(), told.clone());
    let others = keys.clone();
    let on_drop: Action = Arc::new(move || {
        for key in &others[1..] {
            inside.process(key, |pe| pe.value += 1).unwrap();
        }
        *count.lock().unwrap() += 1;
    });
    prototype.process(&keys[0], |pe| pe.on_drop = Some(on_drop)).unwrap();
    for key in &keys[1..] {
        prototype.process(key, |_| ()).unwrap();
    }
    // Every shard is held; the first PE leaves memory, and its drop is to be done by the session.
    let mut is_first = true;
    let events = keys.iter().skip(1).chain([&keys[0], &keys[1]]).map(|key| (key.as_str(), ()));
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    prototype.evict(&keys[0]).unwrap();
    gate.reached();
    let mut seen = 0;
    prototype
        .session()
        .run(events.filter(|(key, ())| *key != keys[0]), |_, ()| {
            seen += 1;
            if seen == 150 && std::mem::take(&mut is_first) {
                gate.open();
                storage.until("the eviction is stored", |seen| seen.stored.len() == 1);
                // Its result is in the shard's inbox in a moment, or its drop waits for this
                // session.
                for _ in 0..50 {
                    thread::park_timeout(Duration::from_millis(1));
                }
            }
        })
        .unwrap();
    eventually("the PE is dropped", || *told.lock().unwrap() == 1);
    keeper.close(FAIL_SAFE).unwrap();
}
