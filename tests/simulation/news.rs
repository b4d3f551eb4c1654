//! What the model hears: which records are stored, and what came of captures.

use checkpoint::{SaveFailure, StateVersion, StorageResult, StorageResultCode};

use super::book::Book;
use super::content::{Stored, id_of, owner_of_id};
use super::ledger::Ledger;
use super::trace::lock;

impl Book {
    /// Takes in what was stored since the last time.
    pub(super) fn read_news(&mut self) {
        let news = std::mem::take(&mut lock(&self.world).records.news);
        for (id, stored, is_late) in news {
            if let Some(owner) = owner_of_id(&id) {
                self.stored(owner, &stored, is_late);
            }
        }
    }

    fn stored(&mut self, owner: u64, stored: &Stored, is_late: bool) {
        let serial = stored.serial();
        if let Some(content) = &stored.content {
            let at = usize::try_from(serial).unwrap();
            let is_known = match self.contents.get(at) {
                _ if serial == 0 => *content == Ledger::new(owner).content(),
                Some(known) => known == content,
                None => false,
            };
            if !is_known || content.owner != owner {
                self.trace.violate(format!("{owner} is stored as what it never was: {content:?}"));
            }
            if self.half_done.get(at).copied().unwrap_or_default() {
                self.trace.violate(format!("{owner} is stored as a panic left it: {serial}"));
            }
        }
        let put_aside = self.subject(owner).put_aside.filter(|_| !is_late);
        if put_aside.is_some_and(|put_aside| put_aside != serial) {
            self.subject(owner).put_aside = None;
            if !lock(&self.world).records.has_put_aside(&id_of(owner)) {
                self.trace.violate(format_args!("4.7: {put_aside:?} of {owner} is overwritten"));
            }
        }
        let may_have_started = !is_late && self.may_start_as(owner, serial);
        let subject = self.subject(owner);
        if subject.may_be(serial) {
            subject.restated = false;
        } else if may_have_started && !subject.unstored.iter().any(|c| c.serial == serial) {
            // It was started as that by an event that has not got through yet, and then asked for.
            if subject.live.is_empty() {
                subject.live.push(0);
            }
            subject.live.push(serial);
            subject.adrift = true;
        }
        if subject.certain() == Some(serial) {
            subject.unstored.clear();
        } else if let Some(at) = subject.unstored.iter().rposition(|c| c.serial == serial) {
            subject.unstored.drain(..=at);
        }
        if is_late && !subject.restated && subject.unstored.is_empty() && !subject.may_be(serial) {
            // The PE was set back and is clean: if it leaves memory, it comes back as this.
            if subject.live.is_empty() {
                subject.live.push(0);
            }
            subject.live.push(serial);
        }
    }

    /// Takes in the result of a capture.
    pub(super) fn result(&mut self, result: &StorageResult<'_>) {
        let id = result.id.to_owned();
        self.results_count += 1;
        let Some(owner) = owner_of_id(&id) else {
            return self.trace.violate(format!("a result of {}", result.id));
        };
        self.trace.add(format_args!(
            "result of {:?} of {owner}: {:?} {:?}",
            result.version,
            result.code,
            result.error.as_ref().map(checkpoint::SaveError::reason)
        ));
        if let Some(version) = result.version {
            let results = self.results.entry((owner, version)).or_default();
            *results += 1;
            if *results > 1 {
                self.trace.violate(format!("P4: {results} results of {version} of {owner}"));
            }
        }
        match (&result.code, &result.error, result.version) {
            (StorageResultCode::Success, None, Some(version)) => {
                self.acknowledged.insert(owner, version);
                self.promise(owner, version);
                let world = lock(&self.world);
                let serial = world.records.ever_offered.get(&(id.clone(), version)).copied();
                let subject = self.subjects.entry(owner).or_default();
                subject.in_doubt = false;
                if let (Some(removal), Some(serial)) = (&subject.removal, serial)
                    && removal.ends_with(serial, subject.may_be(serial))
                {
                    subject.removal = None;
                }
                if !world.records.ever_stored.contains_key(&(id.clone(), version)) {
                    drop(world);
                    self.trace.violate(format!("{version} of {owner} is acknowledged unstored"));
                }
            }
            (StorageResultCode::Failure, Some(error), _) => {
                let encodes =
                    matches!(error.reason(), SaveFailure::Encode(_) | SaveFailure::EncodePanicked);
                if encodes != result.version.is_none() {
                    self.trace.violate(format!("{owner}: {error} with {:?}", result.version));
                }
                let refused =
                    matches!(error.reason(), SaveFailure::Refused(_) | SaveFailure::MayBeStored(_));
                if encodes {
                    self.write_off(owner, u64::MAX);
                }
                if let SaveFailure::NotAnswered(_) | SaveFailure::MayBeStored(_) = error.reason() {
                    self.subject(owner).in_doubt = true;
                }
                if refused {
                    let offered = result.version.and_then(|version| {
                        let world = lock(&self.world);
                        world.records.ever_offered.get(&(id.clone(), version)).copied()
                    });
                    // What was refused may be the copy that was to be put aside before.
                    let subject = self.subject(owner);
                    subject.refused = offered.or(subject.certain());
                    self.write_off(owner, offered.unwrap_or(u64::MAX));
                }
            }
            _ => self.trace.violate(format!("a result without a sense: {result:?}")),
        }
    }

    /// The changes of a PE to this one cannot be stored as they are.
    fn write_off(&mut self, owner: u64, serial: u64) {
        let unstored = &mut self.subject(owner).unstored;
        for change in unstored.iter_mut().filter(|change| change.serial <= serial) {
            change.written_off = true;
        }
    }

    /// How often the result of a version was told.
    pub(super) fn results_of(&self, owner: u64, version: StateVersion) -> u64 {
        self.results.get(&(owner, version)).copied().unwrap_or_default()
    }
}
