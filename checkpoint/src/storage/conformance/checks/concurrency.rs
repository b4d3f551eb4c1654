//! Several callers at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::record::{Epoch, RecordView, StateVersion};
use crate::storage::conformance::checks::id;
use crate::storage::conformance::checks::metadata::{expect_value, put};
use crate::storage::conformance::client::{Checked, shown_answer, shown_outcome};
use crate::storage::conformance::crowd::at_once;
use crate::storage::conformance::records::{record, tombstone};
use crate::storage::conformance::subject::Subject;
use crate::storage::{FetchVersion, Metadata, SaveOutcome, StorageError, StorageErrorKind};
use crate::sync::{AtomicBool, Ordering};

const V: fn(u64, u64) -> StateVersion = StateVersion::new;
const THREADS: u64 = 4;
const ROUNDS: u64 = 25;

pub(super) fn what_is_fetched_during_saves_is_whole(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    subject.store(&record(&id, V(1, 0), b""))?;
    let done = AtomicBool::new(false);
    at_once(subject, 2, move |client, thread| {
        if thread == 0 {
            let saved = (1..=ROUNDS * 4).try_for_each(|n| {
                let bytes = usize::try_from(n * 997 % 20_000).unwrap_or(0);
                client.store(&record(&id, V(1, n), &vec![n.to_le_bytes()[0]; bytes]))
            });
            // Relaxed is enough: it only ends the other thread's loop.
            done.store(true, Ordering::Relaxed);
            return saved;
        }
        let mut last = V(1, 0);
        while !done.load(Ordering::Relaxed) {
            let answer = client.fetch(std::slice::from_ref(&id), FetchVersion::Newest)?.pop();
            let parsed = match &answer {
                Some(Ok(Some(bytes))) => RecordView::parse(bytes).and_then(|r| r.of(id.as_ref())),
                answer => {
                    let found = answer.as_ref().map(shown_answer).unwrap_or_default();
                    return client.fails("fetching while it is saved", "a record", found);
                }
            };
            match parsed {
                Ok(found) if found.header().version >= last => last = found.header().version,
                Ok(found) => {
                    let found = found.header().version.to_string();
                    return client.fails("fetching again", &format!("{last} or newer"), found);
                }
                Err(err) => {
                    let found = err.to_string();
                    return client.fails("fetching while it is saved", "a whole record", found);
                }
            }
        }
        Ok(())
    })
    .map(drop)
}

pub(super) fn batches_saved_at_once_are_all_stored(subject: &mut Subject) -> Checked {
    let key = |thread: u64, n: u64| id("p", format!("{thread} {n}"));
    at_once(subject, THREADS, move |client, thread| {
        (0..ROUNDS).try_for_each(|round| {
            let batch = (0..8).map(|n| {
                record(&key(thread, n), V(1, 1 + round), &(round << 8 | thread).to_le_bytes())
            });
            client.store_all(&batch.collect::<Vec<_>>())
        })
    })?;
    for thread in 0..THREADS {
        for n in 0..8 {
            let id = key(thread, n);
            let last = ((ROUNDS - 1) << 8 | thread).to_le_bytes();
            subject.expect(&id, Some(&record(&id, V(1, ROUNDS), &last)))?;
        }
    }
    Ok(())
}

pub(super) fn of_versions_saved_at_once_the_newest_stays(subject: &mut Subject) -> Checked {
    for round in 0..ROUNDS {
        let id = id("p", round.to_string());
        let of_thread = move |thread: u64| V(1, 1 + thread);
        let saved = id.clone();
        let stored = at_once(subject, THREADS, move |client, thread| {
            let mine = of_thread(thread);
            let record = record(&saved, mine, &thread.to_le_bytes());
            match client.save(&[record])?.pop() {
                Some(SaveOutcome::Stored) => Ok(true),
                Some(SaveOutcome::NotStored(err)) if is_stale(&err, mine) => Ok(false),
                outcome => {
                    let found = outcome.as_ref().map(shown_outcome).unwrap_or_default();
                    client.fails(
                        &format!("saving version {mine} while others save the same id"),
                        "stored, or not stored: Stale with a newer version",
                        found,
                    )
                }
            }
        })?;
        let newest = THREADS - 1;
        let was_stored = stored.last().copied().unwrap_or_default();
        subject.equal("the newest version was stored", &true, &was_stored)?;
        subject.expect(&id, Some(&record(&id, of_thread(newest), &newest.to_le_bytes())))?;
    }
    Ok(())
}

/// Whether a save was refused because a newer version is stored.
fn is_stale(err: &StorageError, mine: StateVersion) -> bool {
    matches!(err.kind(), StorageErrorKind::Stale { current } if current > mine)
}

pub(super) fn ids_fetched_at_once_are_not_mixed_up(subject: &mut Subject) -> Checked {
    let ids: Vec<_> = (0..20).map(|n| id("p", n.to_string())).collect();
    let of = |id: &_| record(id, V(1, 1), format!("state of {id}").as_bytes());
    subject.store_all(&ids.iter().map(of).collect::<Vec<_>>())?;
    at_once(subject, THREADS, move |client, thread| {
        for round in 0..ROUNDS {
            let mut wanted = ids.clone();
            let start = usize::try_from(thread * 7 + round).unwrap_or(0) % ids.len();
            wanted.rotate_left(start);
            let answers = client.fetch(&wanted, FetchVersion::Newest)?;
            for (id, answer) in wanted.iter().zip(answers) {
                client.expect_answer(&format!("the answer for {id}"), Some(&of(id)), &answer)?;
            }
        }
        Ok(())
    })
    .map(drop)
}

pub(super) fn ids_are_listed_while_others_come_and_go(subject: &mut Subject) -> Checked {
    let stays: Vec<_> = (0..20).map(|n| id("p", format!("stays {n}"))).collect();
    let batch: Vec<_> = stays.iter().map(|id| record(id, V(1, 1), b"state")).collect();
    subject.store_all(&batch)?;
    let done = AtomicBool::new(false);
    at_once(subject, 2, move |client, thread| {
        if thread == 0 {
            let changed = (1..=ROUNDS).try_for_each(|n| {
                let comes = |of: u64| id("p", format!("goes {}", of % 5));
                client.store(&record(&comes(n), V(1, 2 * n), b"state"))?;
                client.store(&tombstone(&comes(n), V(1, 2 * n + 1)))
            });
            // Relaxed is enough: it only ends the other thread's loop.
            done.store(true, Ordering::Relaxed);
            return changed;
        }
        while !done.load(Ordering::Relaxed) {
            let listed = client.ids("p")?;
            let distinct: BTreeSet<_> = listed.iter().collect();
            client.equal("ids that are listed twice", &0, &(listed.len() - distinct.len()))?;
            let missing = stays.iter().filter(|id| !distinct.contains(id)).count();
            client.equal("ids that are stored and not listed", &0, &missing)?;
            let foreign = listed.iter().filter(|id| id.prototype() != "p").count();
            client.equal("ids of another prototype", &0, &foreign)?;
        }
        Ok(())
    })
    .map(drop)
}

pub(super) fn of_puts_at_once_one_succeeds(subject: &mut Subject) -> Checked {
    let mut current = put(subject, "name", None, b"first")?;
    for _ in 0..ROUNDS {
        let expected = current;
        let mut winners = at_once(subject, THREADS, move |client, thread| {
            match client.put_metadata("name", Some(expected), &thread.to_le_bytes()) {
                Ok(version) => Ok(Some((thread, version))),
                Err(err) if err.kind() == StorageErrorKind::Conflict => Ok(None),
                Err(err) => client.fails("putting at once", "success or Conflict", err.to_string()),
            }
        })?;
        winners.retain(Option::is_some);
        match winners[..] {
            [Some((thread, version))] => {
                let bytes = thread.to_le_bytes().to_vec();
                expect_value(subject, "name", Some(Metadata { version, bytes }))?;
                current = version;
            }
            _ => {
                let found = format!("{} of {THREADS}", winners.len());
                return subject.fails("putting over the same version at once", "one put", found);
            }
        }
    }
    Ok(())
}

pub(super) fn epochs_opened_at_once_are_distinct(subject: &mut Subject) -> Checked {
    let before = subject.open_above(5, Epoch(0))?;
    let opened = at_once(subject, THREADS, move |client, _| {
        let mut mine = vec![before];
        for _ in 0..5 {
            let last = mine.last().copied().unwrap_or(before);
            mine.push(client.open_above(5, last)?);
        }
        Ok(mine.split_off(1))
    })?;
    let all: Vec<_> = opened.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    subject.equal("epochs that were given out twice", &0, &(all.len() - distinct.len()))
}

pub(super) fn every_caller_sees_its_own_save(subject: &mut Subject) -> Checked {
    let large = Arc::new(vec![7; 100_000]);
    at_once(subject, THREADS, move |client, thread| {
        for n in 1..=5 {
            let id = id("p", thread.to_string());
            let saved = record(&id, V(1, n), &large);
            client.store(&saved)?;
            client.expect(&id, Some(&saved))?;
            let listed = client.ids("p")?.contains(&id);
            client.equal("its own id is listed", &true, &listed)?;
            let newest = client.versions(&id)?.first().map(|found| found.version);
            client.equal("its own version is listed first", &Some(V(1, n)), &newest)?;
        }
        Ok(())
    })
    .map(drop)
}
