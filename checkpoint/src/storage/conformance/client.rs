//! How the checks talk to a storage: each call is noted, and waits for its answers with a deadline.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::record::Epoch;
use crate::storage::conformance::records::{fetch_within, save_within, shown};
use crate::storage::conformance::trail::Trail;
use crate::storage::conformance::{Failure, Verdict};
use crate::storage::{
    FetchOutcome, FetchVersion, Metadata, MetadataVersion, SaveOutcome, StateStorage,
    StorageCapabilities, StorageError, StorageErrorKind, StoredVersion,
};

/// What a check returns: it passed, or another verdict.
pub(super) type Checked<T = ()> = Result<T, Verdict>;

/// How many steps are shown of a check that fails.
const STEPS_SHOWN: usize = 12;
/// How many entries of a call are named in a step.
const NAMED: usize = 4;

/// One caller of a storage; a clone is another one, for a thread.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) storage: Arc<dyn StateStorage>,
    pub(super) trail: Trail,
    deadline: Duration,
    // Before each of its steps.
    name: String,
}

impl Client {
    pub(super) fn new(storage: Arc<dyn StateStorage>, trail: Trail, deadline: Duration) -> Self {
        Self { storage, trail, deadline, name: String::new() }
    }

    /// Another caller of the same storage.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { name: format!("{name}: "), ..self.clone() }
    }

    /// How long something that makes many calls may take.
    pub(super) fn patience(&self) -> Duration {
        self.deadline.saturating_mul(2)
    }

    pub(super) fn capabilities(&self) -> StorageCapabilities {
        self.storage.capabilities()
    }

    fn note<T>(&self, what: &str, call: impl FnOnce() -> T, show: impl FnOnce(&T) -> String) -> T {
        let step = self.trail.begins(format!("{}{what}", self.name));
        let result = call();
        self.trail.ended(&step, show(&result));
        result
    }

    /// Fails the check, with what was done last.
    pub(super) fn fails<T>(
        &self,
        attempted: &str,
        expected: &str,
        found: impl Into<String>,
    ) -> Checked<T> {
        let failure = Failure::new(attempted, expected, found.into());
        Err(Verdict::Failed(failure.after(self.trail.last(STEPS_SHOWN))))
    }

    /// Fails the check because something did not come before the deadline.
    fn waits_in_vain<T>(&self, attempted: &str, expected: &str, missing: usize) -> Checked<T> {
        let found = format!("{missing} without one after {:?}", self.deadline);
        let failure = Failure::new(attempted, expected, found).in_vain();
        Err(Verdict::Failed(failure.after(self.trail.last(STEPS_SHOWN))))
    }

    pub(super) fn equal<T: PartialEq + Debug>(
        &self,
        attempted: &str,
        expected: &T,
        found: &T,
    ) -> Checked {
        if expected == found {
            return Ok(());
        }
        self.fails(attempted, &format!("{expected:?}"), format!("{found:?}"))
    }

    pub(super) fn save(&self, records: &[Vec<u8>]) -> Checked<Vec<SaveOutcome>> {
        let named = records.iter().map(|record| shown(Some(record)));
        let what = format!("save {}", listed(records.len(), named));
        let saved = self.note(
            &what,
            || save_within(&*self.storage, records, self.deadline),
            |outcomes| match outcomes {
                Ok(outcomes) => listed(outcomes.len(), outcomes.iter().map(shown_outcome)),
                Err(missing) => format!("{missing} without an outcome"),
            },
        );
        saved.or_else(|missing| {
            let attempted = format!("saving a batch of {}", records.len());
            self.waits_in_vain(&attempted, "an outcome of each entry", missing)
        })
    }

    /// Saves one record, which must be stored.
    pub(super) fn store(&self, record: &[u8]) -> Checked {
        self.store_all(&[record.to_vec()])
    }

    /// Saves records in one batch; all must be stored.
    pub(super) fn store_all(&self, records: &[Vec<u8>]) -> Checked {
        for (index, outcome) in self.save(records)?.iter().enumerate() {
            if !matches!(outcome, SaveOutcome::Stored) {
                let attempted = format!("saving entry {index} of a batch of {}", records.len());
                return self.fails(&attempted, "Stored", shown_outcome(outcome));
            }
        }
        Ok(())
    }

    /// Saves one record, which must be refused for this reason.
    pub(super) fn refused(&self, record: &[u8], reason: StorageErrorKind) -> Checked {
        match self.save(&[record.to_vec()])?.first() {
            Some(SaveOutcome::NotStored(err)) if err.kind() == reason => Ok(()),
            found => {
                let attempted = format!("saving {}", shown(Some(record)));
                let expected = format!("not stored: {reason:?}");
                self.fails(&attempted, &expected, found.map(shown_outcome).unwrap_or_default())
            }
        }
    }

    pub(super) fn fetch(
        &self,
        ids: &[CheckpointId],
        version: FetchVersion,
    ) -> Checked<Vec<FetchOutcome>> {
        let what = format!(
            "fetch {} ({version:?})",
            listed(ids.len(), ids.iter().map(ToString::to_string))
        );
        let fetched = self.note(
            &what,
            || fetch_within(&*self.storage, ids, version, self.deadline),
            |answers| match answers {
                Ok(answers) => listed(answers.len(), answers.iter().map(shown_answer)),
                Err(missing) => format!("{missing} without an answer"),
            },
        );
        fetched.or_else(|missing| {
            let attempted = format!("fetching {} ids", ids.len());
            self.waits_in_vain(&attempted, "an answer for each", missing)
        })
    }

    /// Fetches a version of one id, which must be this record, byte for byte, or absent.
    pub(super) fn expect_version(
        &self,
        id: &CheckpointId,
        version: FetchVersion,
        expected: Option<&[u8]>,
    ) -> Checked {
        let answer = self.fetch(std::slice::from_ref(id), version)?.pop();
        let attempted = format!("fetching {id} ({version:?})");
        match answer {
            Some(answer) => self.expect_answer(&attempted, expected, &answer),
            None => unreachable!("one was asked for"),
        }
    }

    pub(super) fn expect_answer(
        &self,
        attempted: &str,
        expected: Option<&[u8]>,
        answer: &FetchOutcome,
    ) -> Checked {
        match answer {
            Ok(found) if found.as_deref() == expected => Ok(()),
            answer => self.fails(attempted, &shown(expected), shown_answer(answer)),
        }
    }

    /// Fetches the newest record of an id, by each way there is.
    pub(super) fn expect(&self, id: &CheckpointId, expected: Option<&[u8]>) -> Checked {
        self.expect_version(id, FetchVersion::Newest, expected)?;
        if let Some(answer) = self.fetch_now(id) {
            self.expect_answer(&format!("fetch_now of {id}"), expected, &answer)?;
        }
        for answer in self.fetch_many(id) {
            self.expect_answer(&format!("fetch_many of {id}"), expected, &answer)?;
        }
        if expected.is_some() && !self.may_contain(id) {
            let attempted = format!("may_contain of {id}, which is stored");
            return self.fails(&attempted, "true", "false");
        }
        Ok(())
    }

    pub(super) fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        let show = |answer: &Option<FetchOutcome>| match answer {
            Some(answer) => shown_answer(answer),
            None => "not without blocking".to_owned(),
        };
        self.note(&format!("fetch_now {id}"), || self.storage.fetch_now(id), show)
    }

    /// Fetches an id together with itself.
    fn fetch_many(&self, id: &CheckpointId) -> Vec<FetchOutcome> {
        let fetch = || {
            let mut found = Vec::new();
            self.storage.fetch_many(&[id.as_ref(), id.as_ref()], &mut |at, record| {
                // Not one of those that were asked for.
                found.push(if at < 2 { Ok(Some(record)) } else { Ok(Some(Vec::new())) });
            });
            found
        };
        let show = |found: &Vec<FetchOutcome>| {
            let found: Vec<_> = found.iter().map(shown_answer).collect();
            found.join(", ")
        };
        self.note(&format!("fetch_many {id}"), fetch, show)
    }

    pub(super) fn may_contain(&self, id: &CheckpointId) -> bool {
        let what = format!("may_contain {id}");
        self.note(&what, || self.storage.may_contain(id), bool::to_string)
    }

    /// Lists the ids of a prototype, sorted.
    pub(super) fn ids(&self, prototype: &str) -> Checked<Vec<CheckpointId>> {
        let list = || {
            let mut ids = Vec::new();
            let listed = self.storage.ids(prototype, &mut |id| {
                ids.push(id);
                ControlFlow::Continue(())
            });
            listed.map(|()| {
                ids.sort();
                ids
            })
        };
        let listed = self.note(&format!("ids {prototype:?}"), list, |found| match found {
            Ok(ids) => listed(ids.len(), ids.iter().map(ToString::to_string)),
            Err(err) => format!("{err}"),
        });
        self.succeeds(&format!("listing the ids of {prototype:?}"), listed)
    }

    /// Lists the ids of a prototype, which must be these.
    pub(super) fn expect_ids(&self, prototype: &str, mut expected: Vec<CheckpointId>) -> Checked {
        expected.sort();
        let found = self.ids(prototype)?;
        if found == expected {
            return Ok(());
        }
        let missing: Vec<_> =
            expected.iter().filter(|id| !found.contains(id)).map(ToString::to_string).collect();
        let surplus: Vec<_> =
            found.iter().filter(|id| !expected.contains(id)).map(ToString::to_string).collect();
        let distinct = {
            let mut distinct = found.clone();
            distinct.dedup();
            distinct.len()
        };
        let said = format!(
            "{} ids, {} of them listed again; missing: {missing:?}; not to be listed: {surplus:?}",
            found.len(),
            found.len() - distinct
        );
        let wanted = format!("{} ids, each once", expected.len());
        self.fails(&format!("listing the ids of {prototype:?}"), &wanted, said)
    }

    pub(super) fn versions(&self, id: &CheckpointId) -> Checked<Vec<StoredVersion>> {
        let what = format!("versions {id}");
        let found = self.note(
            &what,
            || self.storage.versions(id),
            |found| match found {
                Ok(found) => listed(found.len(), found.iter().map(ToString::to_string)),
                Err(err) => format!("{err}"),
            },
        );
        self.succeeds(&format!("listing the versions of {id}"), found)
    }

    /// Opens a partition, which must give an epoch above the last one.
    pub(super) fn open_above(&self, partition: u32, last: Epoch) -> Checked<Epoch> {
        let what = format!("open_epoch {partition}");
        let opened = self.note(&what, || self.storage.open_epoch(partition), shown_result);
        let epoch = self.succeeds(&format!("opening partition {partition}"), opened)?;
        if epoch > last {
            return Ok(epoch);
        }
        let expected = format!("an epoch above {}", last.0);
        self.fails(&format!("opening partition {partition}"), &expected, format!("{epoch:?}"))
    }

    pub(super) fn metadata(&self, name: &str) -> Checked<Option<Metadata>> {
        let show = |found: &Result<Option<Metadata>, StorageError>| match found {
            Ok(Some(found)) => {
                format!("version {}, {} bytes", found.version.0, found.bytes.len())
            }
            Ok(None) => "none".to_owned(),
            Err(err) => format!("{err}"),
        };
        let found = self.note(&format!("metadata {name:?}"), || self.storage.metadata(name), show);
        self.succeeds(&format!("reading metadata {name:?}"), found)
    }

    pub(super) fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let expects = expected.map_or("none".to_owned(), |version| version.0.to_string());
        let what = format!("put_metadata {name:?} over {expects}, {} bytes", bytes.len());
        self.note(&what, || self.storage.put_metadata(name, expected, bytes), shown_result)
    }

    pub(super) fn succeeds<T>(
        &self,
        attempted: &str,
        result: Result<T, StorageError>,
    ) -> Checked<T> {
        result.or_else(|err| self.fails(attempted, "success", format!("{err}")))
    }
}

fn listed(count: usize, parts: impl Iterator<Item = String>) -> String {
    if count == 1 {
        return parts.last().unwrap_or_default();
    }
    let mut named: Vec<_> = parts.take(NAMED).collect();
    if count > named.len() {
        named.push("…".to_owned());
    }
    format!("{count} [{}]", named.join(", "))
}

pub(super) fn shown_outcome(outcome: &SaveOutcome) -> String {
    match outcome {
        SaveOutcome::Stored => "stored".to_owned(),
        SaveOutcome::NotStored(err) => format!("not stored: {:?}", err.kind()),
        SaveOutcome::Unknown(err) => format!("unknown: {err}"),
    }
}

pub(super) fn shown_answer(answer: &FetchOutcome) -> String {
    match answer {
        Ok(found) => shown(found.as_deref()),
        Err(err) => format!("error: {err}"),
    }
}

fn shown_result<T: Debug>(result: &Result<T, StorageError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(err) => format!("{err}"),
    }
}
