//! Checkpoints that are too old (T14, T15, design rule 9).

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfigBuilder, PePrototype, Pool, SafeKeeper, StateStorage, TestClock,
};

use crate::support::{Counter, FAIL_SAFE, FaultyStorage, counters, every, manual, settings};

const AGE: Duration = Duration::from_secs(3600);

struct Restarted {
    clock: Arc<TestClock>,
    storage: FaultyStorage,
    expired: Arc<Mutex<Vec<String>>>,
}

impl Restarted {
    /// A counter of 5 is stored, and its keeper closed.
    fn new() -> Self {
        let new = Self {
            clock: Arc::new(TestClock::new()),
            storage: FaultyStorage::new(),
            expired: Arc::default(),
        };
        let (keeper, prototype) = new.open(every(1));
        prototype.process("a", |pe| pe.count = 5).unwrap();
        keeper.close(FAIL_SAFE).unwrap();
        new
    }

    fn open(
        &self,
        config: CheckpointingConfigBuilder,
    ) -> (SafeKeeper, PePrototype<String, Counter>) {
        let keeper = settings(&self.storage).clock(self.clock.clone()).build().unwrap();
        let expired = self.expired.clone();
        let prototype = keeper
            .prototype("counter")
            .config(config.build().unwrap())
            .create(|_| Counter::default())
            .on_expire(move |key: &String| expired.lock().unwrap().push(key.clone()))
            .build()
            .unwrap();
        (keeper, prototype)
    }

    #[track_caller]
    fn check(&self, config: CheckpointingConfigBuilder, count: u64) {
        let (_keeper, prototype) = self.open(config);
        assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), count);
        let expired = self.expired.lock().unwrap().clone();
        assert_eq!(expired, if count == 5 { vec![] } else { vec!["a".to_owned()] });
    }
}

#[test]
fn t14_a_checkpoint_that_is_older_than_its_expiry_is_not_restored_and_is_reported() {
    let restarted = Restarted::new();
    restarted.clock.advance(AGE);
    restarted.check(manual().expire_after(AGE), 0);
}

#[test]
fn t14_a_checkpoint_that_is_younger_than_its_expiry_is_restored() {
    let restarted = Restarted::new();
    restarted.clock.advance(AGE - Duration::from_millis(1));
    restarted.check(manual().expire_after(AGE), 5);
}

#[test]
fn t15_an_expired_checkpoint_is_restored_when_that_is_allowed() {
    let restarted = Restarted::new();
    restarted.clock.advance(2 * AGE);
    restarted.check(manual().expire_after(AGE).recover_expired(true), 5);
}

#[test]
fn an_expired_record_is_kept_until_it_is_overwritten() {
    let restarted = Restarted::new();
    restarted.clock.advance(AGE);
    let (keeper, prototype) = restarted.open(manual().expire_after(AGE));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 0);
    keeper.close(FAIL_SAFE).unwrap();
    restarted.expired.lock().unwrap().clear();
    restarted.check(manual(), 5);
    // What starts anew is newer than what it replaces.
    let (keeper, prototype) = restarted.open(every(1).expire_after(AGE));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let (_keeper, prototype) = restarted.open(every(1).expire_after(AGE));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
}

#[test]
fn age_counts_from_the_last_event_and_not_from_the_last_capture() {
    let clock = Arc::new(TestClock::new());
    let restarted = Restarted { clock, storage: FaultyStorage::new(), expired: Arc::default() };
    let (keeper, prototype) = restarted.open(manual().expire_after(AGE));
    prototype.process("a", |pe| pe.count = 5).unwrap();
    // Resident and idle for half of the time before it is captured.
    restarted.clock.advance(AGE / 2);
    keeper.close(FAIL_SAFE).unwrap();
    restarted.clock.advance(AGE / 2);
    restarted.check(manual().expire_after(AGE), 0);
}

#[test]
fn the_time_of_an_event_is_known_where_nothing_else_depends_on_time() {
    let clock = Arc::new(TestClock::new());
    // Without a thread that fetches there can be no question what is stored.
    let storage = FaultyStorage::new().knowing_absence();
    let restarted = Restarted { clock, storage, expired: Arc::default() };
    let keeper = settings(&restarted.storage).clock(restarted.clock.clone()).stepped();
    let keeper = keeper.build().unwrap();
    let prototype = counters(&keeper, manual().expire_after(AGE));
    let run_until_idle = || {
        let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    for _ in 0..2 {
        prototype.process("a", |pe| pe.count = 5).unwrap();
        restarted.clock.advance(AGE / 2);
        run_until_idle();
    }
    let ticket = prototype.checkpoint("a").unwrap();
    run_until_idle();
    ticket.wait().unwrap();
    drop((prototype, keeper));
    // The last event is three quarters of that age old, the first one five.
    restarted.clock.advance(AGE / 4);
    restarted.check(manual().expire_after(AGE), 5);
}

/// F1.
#[test]
fn nothing_expires_by_a_wall_clock_that_was_set_back() {
    let restarted = Restarted::new();
    restarted.clock.jump_wall(-86_400);
    restarted.check(manual().expire_after(AGE), 5);
}

/// F1.
#[test]
fn nothing_expires_by_a_wall_clock_that_is_years_ahead() {
    let restarted = Restarted::new();
    restarted.clock.jump_wall(20 * 365 * 86_400);
    restarted.check(manual().expire_after(AGE), 5);
    assert!(
        restarted
            .storage
            .content()
            .ids("counter", &mut |_| { std::ops::ControlFlow::Continue(()) })
            .is_ok()
    );
}

#[test]
fn how_far_a_wall_clock_may_be_ahead_is_a_setting() {
    const DAY: Duration = Duration::from_secs(86_400);
    let restarted = Restarted::new();
    restarted.clock.jump_wall(3 * 86_400);
    restarted.check(manual().expire_after(AGE).clock_step_max(2 * DAY), 5);
    restarted.check(manual().expire_after(AGE).clock_step_max(4 * DAY), 0);
    assert!(manual().clock_step_max(Duration::ZERO).build().is_err());
}
