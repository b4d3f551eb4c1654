//! The storage under test, and the way to open it again.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::conformance::client::{Checked, Client};
use crate::storage::conformance::trail::Trail;
use crate::storage::conformance::{Harness, Verdict};

/// The only caller of a fresh storage.
pub(super) struct Subject {
    // There is none only while the storage is being reopened.
    client: Option<Client>,
    harness: Arc<dyn Harness>,
    trail: Trail,
    deadline: Duration,
}

impl Subject {
    pub(super) fn new(harness: Arc<dyn Harness>, trail: Trail, deadline: Duration) -> Self {
        trail.clear();
        let client = Client::new(harness.fresh(), trail.clone(), deadline);
        Self { client: Some(client), harness, trail, deadline }
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
