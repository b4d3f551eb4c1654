//! How a PE comes into memory: from what is stored, or by the factory.
//!
//! Nothing here runs under a shard's lock. A placeholder holds the PE's place meanwhile; the result
//! is posted to the shard.

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::config::OnRestoreError;
use crate::framework::{Caller, FetchVerdict, StateFetch};
use crate::inputs::{Contained, Older, PeName, SourceState, TooManySources};
use crate::process_error::ProcessError;
use crate::prototype::hooks::contain;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::landing::{Delivery, Landing};
use crate::prototype::results::Arrived;
use crate::quarantine::quarantine_id;
use crate::record::{InputPosition, RecordHeader, RecordKind, RecordView, StateVersion};
use crate::reentrancy;
use crate::restore_error::{RestoreError, RestoreFailure};
use crate::state::{Checkpointable, decode_state};
use crate::storage::{FetchVersion, NEWEST_WHOLE, StorageError, StorageErrorKind, UNKNOWN_VERSION};
use crate::store_metadata::stored_schema;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// How many failed decodes are remembered.
const UNREADABLE_MAX: usize = 1024;

/// Remembers which versions could not be decoded, so that they are not decoded again and again.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    known: Mutex<HashMap<CheckpointId, (StateVersion, RestoreFailure)>>,
    /// Whether there is one: each restore asks, and almost never is there.
    is_any: AtomicBool,
}

impl Unreadable {
    fn reason(&self, id: &CheckpointId, version: StateVersion) -> Option<RestoreFailure> {
        if !self.is_any.load(Ordering::Relaxed) {
            return None;
        }
        let known = self.known.lock();
        known.get(id).filter(|(failed, _)| *failed == version).map(|(_, reason)| reason.clone())
    }

    fn remember(&self, id: &CheckpointId, version: StateVersion, reason: &RestoreFailure) {
        let mut known = self.known.lock();
        self.is_any.store(true, Ordering::Relaxed);
        if known.len() >= UNREADABLE_MAX
            && let Some(one) = known.keys().next().cloned()
        {
            known.remove(&one);
        }
        known.insert(id.clone(), (version, reason.clone()));
    }

    pub(super) fn forget(&self, id: &CheckpointId) {
        self.known.lock().remove(id);
    }
}

/// What is to come into a PE's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The newest version, or the factory's value if there is none.
    Newest,
    /// The newest that is older than this, because of a failure.
    Before(StateVersion),
    /// This very one, as a new version.
    Version(StateVersion),
    /// The one that was put aside under this version, as a new version.
    Quarantined(StateVersion),
    /// The factory's value, as a new version.
    FactoryValue,
}

/// A PE that was restored or made, or why it was not.
type Restored<P> = Result<Box<Arrived<P>>, RestoreFailure>;

/// A PE on its way into memory.
pub(super) struct Coming<K> {
    pub(super) shard: usize,
    pub(super) pe: PeHandle,
    pub(super) key: K,
    pub(super) id: CheckpointId,
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Has a PE fetched, or made if nothing is stored of it. It arrives by post.
    pub(super) fn begin_fetch(self: &Arc<Self>, coming: Coming<K>, caller: Caller) {
        self.begin(coming, Wanted::Newest, caller);
    }

    /// Has what is wanted brought. It arrives by post.
    pub(super) fn begin(self: &Arc<Self>, coming: Coming<K>, wanted: Wanted, caller: Caller) {
        let id = coming.id.clone();
        let (id, version) = match wanted {
            Wanted::Newest => (id, FetchVersion::Newest),
            Wanted::Before(version) => (id, FetchVersion::Before(version)),
            Wanted::Version(version) => (id, FetchVersion::Exactly(version)),
            Wanted::Quarantined(version) => match quarantine_id(&id, version) {
                Ok(id) => (id, FetchVersion::Newest),
                Err(_) => return self.finish_fetch(coming, wanted, Ok(None)),
            },
            Wanted::FactoryValue => {
                let made = self.make_preserving(&coming);
                let arrived = made.map(|made| Box::new(Arrived { changed: true, ..*made }));
                return self.deliver(&coming, arrived);
            }
        };
        let inner = self.clone();
        let fetch = StateFetch::new(id, version, caller, move |verdict| {
            inner.finish_fetch(coming, wanted, verdict);
        });
        self.framework.fetch_serialized_state(fetch);
    }

    /// What fetches a PE for a thread that holds the places of others, too. It is decided as on a
    /// thread of the keeper: user code that is run by it must not wait for one of those.
    pub(super) fn fetch_among_others(
        self: &Arc<Self>,
        coming: Coming<K>,
        landing: &Landing<'_, K, P>,
    ) -> StateFetch {
        let inner = self.clone();
        let collected = landing.collected();
        StateFetch::new(coming.id.clone(), FetchVersion::Newest, Caller::MayWait, move |verdict| {
            reentrancy::as_keeper_thread(|| {
                if let Some((coming, arrived)) = inner.fetched(coming, Wanted::Newest, verdict)
                    && let Err(late) = collected.add(inner.delivery(&coming, arrived))
                {
                    inner.post(late.shard, late.mail());
                }
            });
        })
    }

    /// Makes a PE of which nothing is stored.
    pub(super) fn make(&self, coming: &Coming<K>) {
        let arrived = self.make_new(&coming.key, StateVersion::default());
        self.deliver(coming, arrived);
    }

    fn finish_fetch(self: &Arc<Self>, coming: Coming<K>, wanted: Wanted, verdict: FetchVerdict) {
        if let Some((coming, arrived)) = self.fetched(coming, wanted, verdict) {
            self.deliver(&coming, arrived);
        }
    }

    /// Returns what has come, and for whom; nothing if another version is being brought instead.
    fn fetched(
        self: &Arc<Self>,
        coming: Coming<K>,
        wanted: Wanted,
        verdict: FetchVerdict,
    ) -> Option<(Coming<K>, Restored<P>)> {
        let arrived = match verdict {
            Ok(None) if wanted == Wanted::Newest => {
                self.make_new(&coming.key, StateVersion::default())
            }
            Ok(None) => Err(RestoreFailure::Storage(Arc::new(no_such_version(&coming.id, wanted)))),
            Ok(Some(record)) => self.restore(&coming, &record, wanted),
            Err(reason) => Err(reason),
        };
        let arrived = match arrived {
            // Only the first event of a PE may start without its state: what was asked for by name
            // may not be replaced by something else.
            Err(reason)
                if reason.may_be_passed_over()
                    && matches!(wanted, Wanted::Newest | Wanted::Before(_)) =>
            {
                match self.config.on_restore_error() {
                    OnRestoreError::Fail => Err(reason),
                    OnRestoreError::StartEmpty => {
                        self.warn(&coming.id, &reason, "starting with the factory's value");
                        self.make_preserving(&coming)
                    }
                    OnRestoreError::Previous => match older_than(wanted, &reason) {
                        Some(older) => {
                            self.warn(&coming.id, &reason, "trying an older version");
                            self.begin(coming, older, Caller::MustNotWait);
                            return None;
                        }
                        None => Err(reason),
                    },
                }
            }
            arrived => arrived,
        };
        Some((coming, arrived))
    }

    fn deliver(&self, coming: &Coming<K>, arrived: Restored<P>) {
        let delivery = self.delivery(coming, arrived);
        self.post(delivery.shard, delivery.mail());
    }

    fn delivery(&self, coming: &Coming<K>, arrived: Restored<P>) -> Delivery<P> {
        let arrived = arrived.map_err(|reason| match reason {
            // No matter of this PE.
            RestoreFailure::Closed => self.closed_error(),
            reason => ProcessError::Restore(RestoreError::new(coming.id.clone(), reason)),
        });
        Delivery { shard: coming.shard, pe: coming.pe, arrived }
    }

    fn make_new(&self, key: &K, durable: StateVersion) -> Restored<P> {
        let made = contain(|| {
            let mut state = (self.factory)(key);
            if let Some(on_create) = &self.hooks.on_create {
                on_create(key, &mut state);
            }
            state
        });
        let state = made.map_err(|_| RestoreFailure::Panicked)?;
        Ok(Box::new(Arrived { durable, ..Arrived::made(state) }))
    }

    /// Makes a PE in place of what could not be restored, which is to be put aside. It contains no
    /// event.
    fn make_preserving(&self, coming: &Coming<K>) -> Restored<P> {
        let (key, pe) = (&coming.key, self.name_of(coming.pe));
        let older = self.check_gap(Contained::default())?;
        let made = self.make_new(key, StateVersion::default())?;
        let has_lost_events = lose(&older.lost, pe);
        let contained = Some(older.contained);
        Ok(Box::new(Arrived { preserve: true, contained, has_lost_events, ..*made }))
    }

    fn restore(&self, coming: &Coming<K>, record: &[u8], wanted: Wanted) -> Restored<P> {
        let id = &coming.id;
        let damaged = |error| RestoreFailure::Record(Arc::new(error));
        let mut view = RecordView::parse(record).map_err(damaged)?;
        if let Wanted::Quarantined(_) = wanted {
            // The record that was put aside is the payload of the one it is kept in.
            view = RecordView::parse(view.payload()).map_err(damaged)?;
        }
        let view = view.of(id.as_ref()).map_err(damaged)?;
        let header = view.header();
        // Only where a newer version could not be restored: what a roll-back replaces can be.
        let preserve = matches!(wanted, Wanted::Before(_));
        let changed = matches!(wanted, Wanted::Version(_) | Wanted::Quarantined(_));
        if header.kind == RecordKind::Tombstone {
            let older = self.contained(header, wanted)?;
            let made = self.make_new(&coming.key, header.version)?;
            let has_lost_events = lose(&older.lost, self.name_of(coming.pe));
            let contained = Some(older.contained);
            return Ok(Box::new(Arrived {
                preserve,
                changed,
                contained,
                has_lost_events,
                ..*made
            }));
        }
        // Before anything is concluded from the header, which may be made up.
        let payload = self.open(&view)?;
        let Older { contained, lost } = self.contained(header, wanted)?;
        let contained = Some(contained);
        if wanted == Wanted::Newest && self.has_expired(header) {
            if let Some(on_expire) = &self.hooks.on_expire
                && contain(|| on_expire(&coming.key)).is_err()
            {
                return Err(RestoreFailure::Panicked);
            }
            tracing::info!(
                target: "checkpoint",
                prototype = &*self.name,
                key_hash = id.as_ref().key_hash(),
                id = id.as_ref().logged(self.registration.log_keys),
                "checkpoint expired; starting with the factory's value"
            );
            let made = self.make_new(&coming.key, header.version)?;
            return Ok(Box::new(Arrived { contained, ..*made }));
        }
        if let Some(reason) = self.unreadable.reason(id, header.version) {
            return Err(reason);
        }
        let restored = self.restore_from(coming, header, &payload);
        if let Err(reason) = &restored
            && let Some(version) = reason.unreadable_version()
        {
            self.unreadable.remember(id, version, reason);
        }
        restored.map(|state| {
            let (event_count, durable) = (header.event_count, header.version);
            let has_lost_events = lose(&lost, self.name_of(coming.pe));
            let rest = Arrived { durable, event_count, ..Arrived::made(state) };
            Box::new(Arrived { preserve, changed, contained, has_lost_events, ..rest })
        })
    }

    /// Which events a record says that it contains.
    fn contained(
        &self,
        header: &RecordHeader<'_>,
        wanted: Wanted,
    ) -> Result<Older, RestoreFailure> {
        let contained = self.said_by(header)?;
        match wanted {
            Wanted::Newest => Ok(Older { contained, lost: Vec::new() }),
            _ => self.check_gap(contained),
        }
    }

    /// The same, whatever has become of the PE since.
    pub(super) fn said_by(&self, header: &RecordHeader<'_>) -> Result<Contained, RestoreFailure> {
        let sources = &self.registration.sources;
        let number = |position: &InputPosition| sources.number(position.source);
        Contained::from_record(&header.positions, number)
            .map_err(|TooManySources| RestoreFailure::TooManySources)
    }

    fn restore_from(
        &self,
        coming: &Coming<K>,
        header: &RecordHeader<'_>,
        payload: &[u8],
    ) -> Result<P, RestoreFailure> {
        if header.fingerprint != self.fingerprint {
            return Err(self.other_schema(header));
        }
        let (key, version) = (&coming.key, header.version);
        contain(|| {
            // Decoded before the factory runs: a bad state must not have side effects.
            let staged = decode_state::<P>(payload, &self.limits)
                .map_err(|error| RestoreFailure::Decode { version, error: Arc::new(error) })?;
            let mut state = (self.factory)(key);
            state.apply(staged);
            if let Some(validate) = &self.hooks.validate {
                validate(key, &state)
                    .map_err(|error| RestoreFailure::Invalid { version, error: error.into() })?;
            }
            if let Some(on_restore) = &self.hooks.on_restore {
                on_restore(key, &mut state);
            }
            Ok(state)
        })
        .unwrap_or(Err(RestoreFailure::Panicked))
    }

    fn other_schema(&self, header: &RecordHeader<'_>) -> RestoreFailure {
        let storage = self.storage();
        let stored = storage.and_then(|storage| stored_schema(&*storage, header.fingerprint));
        let differences = stored.map_or_else(Vec::new, |found| self.schema.differences(&found));
        RestoreFailure::Schema {
            version: header.version,
            expected: self.fingerprint,
            found: header.fingerprint,
            differences: differences.into(),
        }
    }

    /// Whether the last event was so long ago that the checkpoint is not to be restored.
    fn has_expired(&self, header: &RecordHeader<'_>) -> bool {
        let Some(expire_after) = self.config.expire_after() else { return false };
        if self.config.recover_expired() {
            return false;
        }
        // A clock that is before the capture has been set back: nothing has expired.
        let Ok(since_capture) = self.clock.wall().duration_since(header.captured_at) else {
            return false;
        };
        if since_capture > self.config.clock_step_max().max(expire_after.saturating_mul(2)) {
            tracing::warn!(
                target: "checkpoint",
                prototype = &*self.name,
                years = since_capture.as_secs() / (365 * 24 * 3600),
                "the clock seems to be set wrong: checkpoints do not expire"
            );
            return false;
        }
        since_capture.saturating_add(header.idle) >= expire_after
    }

    fn warn(&self, id: &CheckpointId, reason: &RestoreFailure, consequence: &str) {
        tracing::warn!(
            target: "checkpoint",
            prototype = &*self.name,
            key_hash = id.as_ref().key_hash(),
            id = id.as_ref().logged(self.registration.log_keys),
            %reason,
            "cannot restore: {consequence}"
        );
    }
}

/// Takes note that a PE that is about to arrive has lost events; returns whether it has.
fn lose(sources: &[Arc<SourceState>], pe: PeName) -> bool {
    for source in sources {
        source.lose(pe);
    }
    !sources.is_empty()
}

/// Which version is to be tried after this failure, under the policy `Previous`.
fn older_than(wanted: Wanted, reason: &RestoreFailure) -> Option<Wanted> {
    match (reason, wanted) {
        (_, Wanted::Version(_) | Wanted::Quarantined(_) | Wanted::FactoryValue) => None,
        // What cannot be read has no version: the framework finds out which was the newest.
        (RestoreFailure::Record(_), Wanted::Newest) => Some(Wanted::Before(UNKNOWN_VERSION)),
        // The storage knows that the newest is damaged: the newest that it has is the one before.
        (RestoreFailure::Storage(error), Wanted::Newest)
            if error.kind() == StorageErrorKind::Corrupt =>
        {
            Some(Wanted::Before(NEWEST_WHOLE))
        }
        (_, Wanted::Newest | Wanted::Before(_)) => reason.unreadable_version().map(Wanted::Before),
    }
}

pub(super) fn no_such_version(id: &CheckpointId, wanted: Wanted) -> StorageError {
    let attempted = match wanted {
        Wanted::Version(version) => format!("fetch version {version} of {id}; there is none"),
        Wanted::Quarantined(version) => {
            format!("fetch version {version} of {id} from the quarantine; there is none")
        }
        _ => format!("fetch an older version of {id}; there is none"),
    };
    StorageError::new(StorageErrorKind::Unreadable, attempted)
}
