//! What a user would write who needs no pauses of a dump: a map whose changed keys go into a store
//! at an interval, in one transaction.

use std::time::{Duration, Instant};

use checkpoint::{StateLimits, encode_state, restore_state};

use super::rivals::Rival;
use super::{Plain, State};

/// A map, and which of its keys have changed since they were stored.
pub(crate) struct Changed {
    map: std::collections::HashMap<u64, (State, bool), foldhash::fast::RandomState>,
    changed: Vec<u64>,
    rival: Box<dyn Rival>,
    interval: Duration,
    next: Instant,
}

impl Changed {
    /// Stores everything once.
    pub(crate) fn new(map: Plain, rival: Box<dyn Rival>, interval: Duration) -> Self {
        let limits = StateLimits::default();
        let encode = |state: &State| encode_state(state, &limits).unwrap();
        let all: Vec<_> = map.iter().map(|(key, state)| (*key, encode(state))).collect();
        for batch in all.chunks(100_000) {
            rival.save(&mut batch.iter().map(|(key, state)| (*key, &**state)));
        }
        let map = map.into_iter().map(|(key, state)| (key, (state, false))).collect();
        Self { map, changed: Vec::new(), rival, interval, next: Instant::now() + interval }
    }

    /// Reads everything that is stored.
    pub(crate) fn load(rival: &dyn Rival) -> Plain {
        let limits = StateLimits::default();
        let mut map = Plain::default();
        rival.visit(&mut |key, encoded| {
            let mut state = State::new();
            restore_state(&mut state, encoded, &limits).unwrap();
            map.insert(key, state);
        });
        map
    }

    #[inline(always)]
    pub(crate) fn event(&mut self, key: u64, x: u64) {
        let (state, is_changed) = self.map.get_mut(&key).unwrap();
        state.event(x);
        if !*is_changed {
            *is_changed = true;
            self.changed.push(key);
        }
    }

    pub(crate) fn store_if_due(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        let limits = StateLimits::default();
        let mut states = Vec::with_capacity(self.changed.len());
        for key in self.changed.drain(..) {
            let (state, is_changed) = self.map.get_mut(&key).unwrap();
            *is_changed = false;
            states.push((key, encode_state(state, &limits).unwrap()));
        }
        self.rival.save(&mut states.iter().map(|(key, state)| (*key, &**state)));
        self.next = Instant::now() + self.interval;
    }
}
