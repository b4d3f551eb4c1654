//! Where PEs that were fetched together are collected, so that the lock of each shard is taken once
//! for all of them.

use std::sync::Arc;

use crate::capture::PeHandle;
use crate::process_error::ProcessError;
use crate::prototype::hooks::contain;
use crate::prototype::inner::Inner;
use crate::prototype::results::{Arrived, Mail};
use crate::reentrancy;
use crate::sync::Mutex;

/// Collects deliveries as long as it exists. With its end they go to their shards, and from then on
/// whoever brings one is to post it himself.
pub(super) struct Landing<'a, K, P> {
    inner: &'a Inner<K, P>,
    collected: Arc<Collected<P>>,
}

/// What has come so far; nothing once that went to its shards.
pub(super) struct Collected<P>(Mutex<Option<Vec<Delivery<P>>>>);

/// What a shard is to be given: a PE that has come, or why it has not.
pub(super) struct Delivery<P> {
    pub(super) shard: usize,
    pub(super) pe: PeHandle,
    pub(super) arrived: Result<Box<Arrived<P>>, ProcessError>,
}

impl<'a, K, P> Landing<'a, K, P> {
    pub(super) fn new(inner: &'a Inner<K, P>) -> Self {
        Self { inner, collected: Arc::new(Collected(Mutex::new(Some(Vec::new())))) }
    }

    /// Where those who bring something are to put it.
    pub(super) fn collected(&self) -> Arc<Collected<P>> {
        self.collected.clone()
    }
}

impl<K, P> Drop for Landing<'_, K, P> {
    fn drop(&mut self) {
        let mut collected = self.collected.0.lock().take().unwrap_or_default();
        collected.sort_unstable_by_key(|delivery| delivery.shard);
        let mut collected = collected.into_iter().peekable();
        while let Some(shard) = collected.peek().map(|next| next.shard) {
            let mut of_shard = std::iter::from_fn(|| collected.next_if(|next| next.shard == shard));
            // As on a thread of the keeper: who is woken by it must not wait for one of the others.
            let mut post = || {
                let mails = of_shard.by_ref().map(Delivery::mail);
                reentrancy::as_keeper_thread(|| self.inner.post_all(shard, mails));
            };
            // A panic is somebody else's, who is gone with it: once more for those that are left.
            if contain(&mut post).is_err() && contain(&mut post).is_err() {
                tracing::error!(target: "checkpoint", "a shard panicked twice; PEs do not come");
            }
            // Then these are lost, but not those of the other shards.
            of_shard.for_each(drop);
        }
    }
}

impl<P> Collected<P> {
    /// Adds a delivery, or gives it back if it is too late for that.
    pub(super) fn add(&self, delivery: Delivery<P>) -> Result<(), Delivery<P>> {
        match &mut *self.0.lock() {
            Some(collected) => {
                collected.push(delivery);
                Ok(())
            }
            None => Err(delivery),
        }
    }
}

impl<P> Delivery<P> {
    pub(super) fn mail<K>(self) -> Mail<K, P> {
        Mail::Arrived { pe: self.pe, arrived: self.arrived }
    }
}
