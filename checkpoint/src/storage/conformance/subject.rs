//! The storage under test, and the way to open it again.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::Durability;
use crate::storage::conformance::client::{Checked, Client};
use crate::storage::conformance::trail::Trail;
use crate::storage::conformance::{CrashHarness, Harness, Verdict};

/// The only caller of a fresh storage.
pub(super) struct Subject {
    // There is none only while the storage is being reopened.
    client: Option<Client>,
    harness: Arc<dyn Harness>,
    crashes: Option<Arc<dyn CrashHarness>>,
    /// The seed of what is drawn.
    pub(super) seed: u64,
    trail: Trail,
    deadline: Duration,
}

impl Subject {
    pub(super) fn new(harness: Arc<dyn Harness>, trail: Trail, deadline: Duration) -> Self {
        trail.clear();
        let client = Client::new(harness.fresh(), trail.clone(), deadline);
        Self { client: Some(client), harness, crashes: None, seed: 0, trail, deadline }
    }

    /// Says how it can be crashed.
    pub(super) fn may_crash(&mut self, crashes: Option<Arc<dyn CrashHarness>>, seed: u64) {
        self.crashes = crashes;
        self.seed = seed;
    }

    /// Returns what crashes it, if it says that it survives that.
    fn crashes(&self) -> Checked<Arc<dyn CrashHarness>> {
        let skipped = |why: &str| Err(Verdict::Skipped(why.to_owned()));
        let Some(crashes) = &self.crashes else {
            return skipped("the harness cannot crash");
        };
        match self.capabilities().durability {
            Durability::Power => Ok(Arc::clone(crashes)),
            _ => skipped("a loss of power is not survived by what is declared"),
        }
    }

    /// Lets things go wrong from now on.
    pub(super) fn trouble(&self, seed: u64) -> Checked {
        let crashes = self.crashes()?;
        let step = self.trail.begins(format!("trouble of seed {seed}"));
        crashes.trouble(seed);
        self.trail.ended(&step, "begins");
        Ok(())
    }

    /// Crashes and opens it again.
    pub(super) fn crash(&mut self, seed: u64) -> Checked {
        let crashes = self.crashes()?;
        let step = self.trail.begins(format!("crash of seed {seed}, and open again"));
        let Some(Client { storage, .. }) = self.client.take() else {
            unreachable!("there is one but while it is reopened")
        };
        let storage = crashes.crash_and_reopen(storage, seed);
        self.trail.ended(&step, "done");
        self.client = Some(Client::new(storage, self.trail.clone(), self.deadline));
        Ok(())
    }

    pub(super) fn reopen(&mut self) -> Checked {
        let step = self.trail.begins("close and open again".to_owned());
        if let Some(Client { storage, .. }) = self.client.take()
            && let Some(storage) = self.harness.reopen(storage)
        {
            self.trail.ended(&step, "done");
            self.client = Some(Client::new(storage, self.trail.clone(), self.deadline));
            return Ok(());
        }
        Err(Verdict::Skipped("the harness cannot reopen".to_owned()))
    }
}

impl Deref for Subject {
    type Target = Client;

    fn deref(&self) -> &Client {
        match &self.client {
            Some(client) => client,
            None => unreachable!("a check goes on only if its storage was reopened"),
        }
    }
}
