//! A storage around another that answers later, from a thread of its own, in another order.

use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use checkpoint::{
    CheckpointId, FetchEntry, FetchOutcome, InMemoryStorage, SaveBatch, StateStorage,
};
use checkpoint_tests::delegate_storage;

pub(crate) struct LateStorage {
    inner: InMemoryStorage,
    // None only during the drop.
    work: Option<Mutex<Sender<Work>>>,
    worker: Option<JoinHandle<()>>,
}

enum Work {
    Save(SaveBatch),
    Fetch(Vec<FetchEntry>),
}

impl LateStorage {
    pub(crate) fn new() -> Self {
        let inner = InMemoryStorage::new();
        let (work, todo) = mpsc::channel();
        let storage = inner.clone();
        let worker = thread::Builder::new().spawn(move || {
            for work in todo {
                match work {
                    // In parts, the last first.
                    Work::Save(mut batch) => {
                        while batch.entries().len() > 1 {
                            storage.save(batch.split_off(batch.entries().len() - 1));
                        }
                        storage.save(batch);
                    }
                    Work::Fetch(entries) => {
                        entries.into_iter().rev().for_each(|entry| storage.fetch(vec![entry]));
                    }
                }
            }
        });
        Self { inner, work: Some(Mutex::new(work)), worker: Some(worker.unwrap()) }
    }

    fn send(&self, work: Work) {
        if let Some(sender) = &self.work {
            sender.lock().unwrap_or_else(PoisonError::into_inner).send(work).unwrap();
        }
    }
}

impl Drop for LateStorage {
    fn drop(&mut self) {
        self.work = None;
        if let Some(worker) = self.worker.take() {
            worker.join().unwrap();
        }
    }
}

impl StateStorage for LateStorage {
    delegate_storage!(
        self => self.inner;
        capabilities, prefetch, fetch_many, ids, versions, open_epoch, metadata, put_metadata,
    );

    fn save(&self, batch: SaveBatch) {
        self.send(Work::Save(batch));
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        self.send(Work::Fetch(entries));
    }

    fn fetch_now(&self, _id: &CheckpointId) -> Option<FetchOutcome> {
        None
    }

    fn may_contain(&self, _id: &CheckpointId) -> bool {
        true
    }
}
