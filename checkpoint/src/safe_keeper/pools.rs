//! The threads of a keeper: shells that ask the core what to do, and do it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::reentrancy;
use crate::safe_keeper::action::{Pool, Step};
use crate::safe_keeper::shared::Shared;
use crate::sync::thread::JoinHandle;

/// The threads that were started.
#[derive(Default)]
pub(super) struct Pools {
    threads: Vec<(Pool, JoinHandle<()>)>,
    started: u64,
    /// How many fetching threads are to end before they fetch anything else.
    pub(super) to_retire: usize,
    /// How many could not be started in place of those that hang.
    not_replaced: usize,
}

impl Pools {
    /// Starts one thread of a pool; returns whether there is one more.
    pub(super) fn start(&mut self, shared: &Arc<Shared>, pool: Pool) -> bool {
        self.threads.retain(|(_, thread)| !thread.is_finished());
        let number = self.threads.iter().filter(|(of, _)| *of == pool).count();
        let name = match pool {
            Pool::Serialization => format!("checkpoint-serialization-{number}"),
            Pool::Storage => format!("checkpoint-storage-{number}"),
            Pool::Fetching => format!("checkpoint-fetching-{number}"),
            Pool::Timing => format!("checkpoint-timing-{number}"),
        };
        let work = {
            let shared = shared.clone();
            Box::new(move || run(&shared, pool))
        };
        self.started += 1;
        match shared.threads.start(name, work) {
            Ok(thread) => {
                self.threads.push((pool, thread));
                true
            }
            Err(error) => {
                tracing::error!(target: "checkpoint", ?pool, %error, "cannot start a thread");
                false
            }
        }
    }

    /// Starts a fetching thread in place of one that hangs.
    pub(super) fn replace_one(&mut self, shared: &Arc<Shared>) {
        if !self.start(shared, Pool::Fetching) {
            self.not_replaced += 1;
        }
    }

    pub(super) fn count(&self, pool: Pool) -> usize {
        self.threads.iter().filter(|(of, _)| *of == pool).count()
    }

    /// One that hung is back: lets one fetching thread end, if another was started in its place.
    pub(super) fn retire_one(&mut self) {
        match self.not_replaced {
            0 => self.to_retire += 1,
            _ => self.not_replaced -= 1,
        }
    }

    pub(super) fn take(&mut self) -> Vec<JoinHandle<()>> {
        self.threads.drain(..).map(|(_, thread)| thread).collect()
    }
}

fn run(shared: &Arc<Shared>, pool: Pool) {
    reentrancy::as_keeper_thread(|| {
        loop {
            // However much there is to do: more would fetch at the same time than may.
            if pool == Pool::Fetching && retires(shared) {
                return;
            }
            let mut core = shared.core.lock();
            let action = loop {
                match core.next(pool, shared.clock.now()) {
                    Step::Run(action) => break action,
                    Step::Exit => return,
                    Step::Wait(until) => shared.wait(&mut core, pool, until),
                }
            };
            drop(core);
            // What the user's code can throw is caught where it runs; this is for what nobody
            // thought of: the pool must not lose its threads.
            if catch_unwind(AssertUnwindSafe(|| shared.perform(action))).is_err() {
                tracing::error!(target: "checkpoint", ?pool, "a task of the keeper panicked");
            }
        }
    });
}

/// Whether this thread is one too many: one hung, and another was started in its place.
fn retires(shared: &Shared) -> bool {
    let mut pools = shared.pools.lock();
    let surplus = pools.to_retire > 0;
    if surplus {
        pools.to_retire -= 1;
    }
    surplus
}
