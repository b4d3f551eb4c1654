//! Does a history to a storage, and compares with the model.

use crate::storage::conformance::client::{Checked, shown_answer, shown_outcome};
use crate::storage::conformance::history::model::{Expected, Kept, Model};
use crate::storage::conformance::history::operation::{IDS, NAMES, Operation, Over, Saved};
use crate::storage::conformance::records::shown;
use crate::storage::conformance::subject::Subject;
use crate::storage::{FetchVersion, Metadata, MetadataVersion, SaveOutcome, StorageErrorKind};

pub(super) fn play(subject: &mut Subject, history: &[Operation]) -> Checked {
    let mut model = Model::new(subject.capabilities());
    for operation in history {
        match operation {
            Operation::Save(batch) => save(subject, &mut model, batch)?,
            Operation::Fetch(ids) => fetch(subject, &model, ids)?,
            Operation::Versions(id) => versions(subject, &model, *id)?,
            Operation::List => list(subject, &model)?,
            Operation::OpenEpoch(partition) => {
                let epoch = subject.open_above(*partition, model.opened(*partition))?;
                model.open(*partition, epoch);
            }
            Operation::Put { name, over, bytes } => put(subject, &mut model, *name, *over, *bytes)?,
            Operation::ReadMetadata(name) => read_metadata(subject, &model, *name)?,
            Operation::Reopen => {
                subject.reopen()?;
                model.reopen();
                all(subject, &model)?;
            }
        }
    }
    all(subject, &model)
}

/// Looks at everything.
fn all(subject: &Subject, model: &Model) -> Checked {
    fetch(subject, model, &(0..IDS).collect::<Vec<_>>())?;
    let mut saved = (0..IDS).filter(|id| model.newest_version(*id).is_some());
    saved.try_for_each(|id| versions(subject, model, id))?;
    (0..NAMES).try_for_each(|name| read_metadata(subject, model, name))?;
    list(subject, model)
}

fn save(subject: &Subject, model: &mut Model, batch: &[Saved]) -> Checked {
    let max = subject.capabilities().record_bytes_max;
    let (mut records, mut expected) = (Vec::new(), Vec::new());
    for saved in batch {
        if let Some((record, outcome)) = model.expect(*saved)
            && record.len() as u64 <= max
        {
            records.push(record);
            expected.push((saved.id, outcome));
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    let outcomes = subject.save(&records)?;
    for ((record, (id, expected)), outcome) in records.iter().zip(expected).zip(outcomes) {
        let attempted = || format!("saving {}", shown(Some(record)));
        match (expected, outcome) {
            (Expected::Stored(kept), SaveOutcome::Stored) => model.store(id, kept),
            (Expected::Refused(reasons), SaveOutcome::NotStored(err))
                if reasons.contains(&err.kind()) => {}
            (Expected::Stored(_), outcome) => {
                return subject.fails(&attempted(), "stored", shown_outcome(&outcome));
            }
            (Expected::Refused(reasons), outcome) => {
                let expected = format!("not stored, because of one of {reasons:?}");
                return subject.fails(&attempted(), &expected, shown_outcome(&outcome));
            }
        }
    }
    Ok(())
}

fn fetch(subject: &Subject, model: &Model, numbers: &[u64]) -> Checked {
    let ids: Vec<_> = numbers.iter().map(|number| Model::id(*number)).collect();
    let answers = subject.fetch(&ids, FetchVersion::Newest)?;
    for ((number, id), answer) in numbers.iter().zip(&ids).zip(answers) {
        let (newest, _) = model.fetch(*number, FetchVersion::Newest);
        let expected = newest.map(|kept| kept.bytes.as_slice());
        subject.expect_answer(&format!("fetching {id}"), expected, &answer)?;
    }
    for (number, id) in numbers.iter().zip(&ids) {
        let (newest, _) = model.fetch(*number, FetchVersion::Newest);
        let expected = newest.map(|kept| kept.bytes.as_slice());
        if let Some(answer) = subject.fetch_now(id) {
            subject.expect_answer(&format!("fetch_now of {id}"), expected, &answer)?;
        }
        if expected.is_some() && !subject.may_contain(id) {
            return subject.fails(&format!("may_contain of {id}"), "true", "false");
        }
        // Of an id that was never saved, the small checks see to it.
        let Some(version) = model.newest_version(*number) else { continue };
        for wanted in [FetchVersion::Exactly(version), FetchVersion::Before(version)] {
            older(subject, model, *number, wanted)?;
        }
    }
    Ok(())
}

/// Fetches a version that may be older than those that are kept.
fn older(subject: &Subject, model: &Model, number: u64, wanted: FetchVersion) -> Checked {
    let id = Model::id(number);
    let (kept, none_will_do) = model.fetch(number, wanted);
    let answer = subject.fetch(std::slice::from_ref(&id), wanted)?.pop();
    let is_expected = match &answer {
        Some(Ok(None)) => none_will_do,
        Some(Ok(Some(found))) => kept.is_some_and(|kept| kept.bytes == *found),
        _ => false,
    };
    if is_expected {
        return Ok(());
    }
    let expected = shown(kept.map(|kept: &Kept| kept.bytes.as_slice()));
    let found = answer.as_ref().map(shown_answer).unwrap_or_default();
    subject.fails(&format!("fetching {id} ({wanted:?})"), &expected, found)
}

fn versions(subject: &Subject, model: &Model, number: u64) -> Checked {
    let id = Model::id(number);
    let (all, kept) = model.versions(number);
    let listed = subject.versions(&id)?;
    let listed: Vec<_> = listed.iter().map(|listed| (listed.version, listed.kind)).collect();
    // More than what is declared may be kept.
    if listed.len() >= kept && all.starts_with(&listed) {
        return Ok(());
    }
    let expected = format!("at least the first {kept} of {all:?}");
    subject.fails(&format!("listing the versions of {id}"), &expected, format!("{listed:?}"))
}

fn list(subject: &Subject, model: &Model) -> Checked {
    for prototype in ["even", "odd"] {
        subject.expect_ids(prototype, model.listed(prototype))?;
    }
    Ok(())
}

fn metadata_name(name: u64) -> String {
    // One of them is also the name of a prototype.
    if name == 0 { "even".to_owned() } else { format!("name {name}") }
}

fn put(subject: &Subject, model: &mut Model, name: u64, over: Over, bytes: usize) -> Checked {
    let current = model.metadata.get(&name).map(|value| value.version);
    let expected = match over {
        Over::Current => current,
        Over::Nothing => None,
        Over::Other => Some(MetadataVersion(current.map_or(1, |version| version.0 + 1))),
    };
    let value = vec![u8::try_from(bytes % 251).unwrap_or(0); bytes];
    let attempted = format!("putting metadata {:?} over {expected:?}", metadata_name(name));
    match subject.put_metadata(&metadata_name(name), expected, &value) {
        Ok(version) if expected == current && Some(version) > current => {
            model.metadata.insert(name, Metadata { version, bytes: value });
            Ok(())
        }
        Err(err) if expected != current && err.kind() == StorageErrorKind::Conflict => Ok(()),
        found => {
            let right = match expected == current {
                true => format!("a version above {current:?}"),
                false => "Conflict".to_owned(),
            };
            subject.fails(&attempted, &right, format!("{found:?}"))
        }
    }
}

fn read_metadata(subject: &Subject, model: &Model, name: u64) -> Checked {
    let found = subject.metadata(&metadata_name(name))?;
    if found.as_ref() == model.metadata.get(&name) {
        return Ok(());
    }
    let show = |value: Option<&Metadata>| {
        value.map_or("none".to_owned(), |value| {
            format!("version {}, {} bytes", value.version.0, value.bytes.len())
        })
    };
    let attempted = format!("reading metadata {:?}", metadata_name(name));
    subject.fails(&attempted, &show(model.metadata.get(&name)), show(found.as_ref()))
}
