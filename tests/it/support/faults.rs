//! What can go wrong in a `FaultyStorage`, and how often.

use std::sync::Arc;

use checkpoint::StorageErrorKind;

use crate::support::Gate;

/// What happens to a save instead of being stored.
#[derive(Clone)]
pub(crate) enum SaveFault {
    /// It is not stored, and the storage says so.
    NotStored(StorageErrorKind),
    /// It is stored, and the answer is lost.
    UnknownLanded,
    /// It is not stored, and the answer is lost.
    UnknownLost,
    /// It is not stored, and is dropped without an answer.
    Dropped,
    /// It is stored once the gate is open; the thread waits.
    Held(Gate),
    /// It is stored and answered by `FaultyStorage::complete_late`; the thread goes on.
    Late,
    /// The storage panics.
    Panic,
}

/// What happens to a fetch instead of being answered.
#[derive(Clone)]
pub(crate) enum FetchFault {
    /// It fails.
    Failed(StorageErrorKind),
    /// It is answered once the gate is open; the thread waits.
    Held(Gate),
    /// It fails once the gate is open; the thread waits.
    HeldThenFailed(Gate, StorageErrorKind),
    /// It is answered with what this makes of the stored record.
    Changed(Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>),
    /// It is dropped without an answer.
    Dropped,
    /// The storage panics.
    Panic,
}

/// Faults in the order in which they were asked for.
pub(crate) struct Rules<F>(Vec<Rule<F>>);

struct Rule<F> {
    key: Option<Vec<u8>>,
    times: usize,
    fault: F,
}

impl<F: Clone> Rules<F> {
    pub(crate) fn add(&mut self, key: Option<&str>, times: usize, fault: F) {
        let key = key.map(|key| key.as_bytes().to_vec());
        self.0.push(Rule { key, times, fault });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the first fault that applies to this key.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<F> {
        let applies = |rule: &&mut Rule<F>| {
            rule.times > 0 && rule.key.as_deref().is_none_or(|wanted| wanted == key)
        };
        let rule = self.0.iter_mut().find(applies)?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }
}

impl<F> Default for Rules<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
