//! A storage around another one that can be switched off.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use checkpoint::{
    FetchEntry, SaveBatch, SaveOutcome, StateStorage, StorageError, StorageErrorKind,
};

use crate::delegate_storage;

/// How a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// It works.
    Fair,
    /// Whatever it is asked, it fails at once.
    Down,
    /// Saves do not come back before it changes.
    Stuck,
}

/// Passes everything on, unless it is switched off. A clone is the same storage.
#[derive(Debug)]
pub struct Unsteady<S: ?Sized> {
    inner: Arc<S>,
    weather: Arc<(Mutex<Weather>, Condvar)>,
}

impl<S: ?Sized> Clone for Unsteady<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), weather: Arc::clone(&self.weather) }
    }
}

impl<S: StateStorage> Unsteady<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, weather: Weather) -> Self {
        Self::over(Arc::new(inner), weather)
    }
}

impl<S: StateStorage + ?Sized> Unsteady<S> {
    /// Wraps a storage that others know too.
    pub fn over(inner: Arc<S>, weather: Weather) -> Self {
        Self { inner, weather: Arc::new((Mutex::new(weather), Condvar::new())) }
    }

    /// Changes how it is from now on.
    pub fn set(&self, weather: Weather) {
        *self.weather.0.lock().unwrap_or_else(PoisonError::into_inner) = weather;
        self.weather.1.notify_all();
    }

    fn is_down(&self) -> bool {
        let weather = self.weather.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.weather.1.wait_while(weather, |weather| *weather == Weather::Stuck);
        *waited.unwrap_or_else(PoisonError::into_inner) == Weather::Down
    }
}

fn down(attempted: String) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, attempted)
}

impl<S: StateStorage + ?Sized> StateStorage for Unsteady<S> {
    delegate_storage!(
        self => self.inner;
        capabilities, fetch_now, may_contain, prefetch, fetch_many, ids, versions, open_epoch,
        metadata, put_metadata,
    );

    fn save(&self, batch: SaveBatch) {
        if !self.is_down() {
            return self.inner.save(batch);
        }
        let (bytes, entries) = batch.into_parts();
        for entry in entries {
            let err = down(format!("save {}", entry.id_in(&bytes)));
            entry.complete(SaveOutcome::NotStored(err));
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        if !self.is_down() {
            return self.inner.fetch(entries);
        }
        for entry in entries {
            let err = down(format!("fetch {}", entry.id()));
            entry.complete(Err(err));
        }
    }
}
