//! Several callers at once.

use std::sync::Arc;

use crate::record::{RecordView, StateVersion};
use crate::storage::conformance::Verdict;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::subject::{Checked, Subject, failed, fetch, record, save};
use crate::storage::{FetchVersion, SaveOutcome};
use crate::sync::{AtomicBool, Ordering};
use crate::thread_start::{SystemThreads, ThreadStart};

const THREADS: u64 = 4;
const ROUNDS: u64 = 25;

pub(super) fn what_is_fetched_during_saves_is_whole(subject: &mut Subject) -> Checked {
    let id = id("p", "k");
    let bytes = |n: u64| usize::try_from(n * 997 % 20_000).unwrap_or(0);
    subject.store(&record(&id, StateVersion::new(1, 0), b""))?;
    let done = Arc::new(AtomicBool::new(false));
    let storage = Arc::clone(subject.storage());
    let (seen, of_saver) = (Arc::clone(&done), id.clone());
    let saver = start(move || {
        let mut all_stored = true;
        for n in 1..=ROUNDS * 4 {
            let payload = vec![n.to_le_bytes()[0]; bytes(n)];
            let saved = record(&of_saver, StateVersion::new(1, n), &payload);
            all_stored &= matches!(save(&*storage, &[saved])[..], [SaveOutcome::Stored]);
        }
        // Relaxed is enough: it only ends the loop below.
        seen.store(true, Ordering::Relaxed);
        all_stored
    })?;
    let mut last = StateVersion::new(1, 0);
    let mut wrong = None;
    while !done.load(Ordering::Relaxed) && !saver.is_finished() && wrong.is_none() {
        match fetch(&**subject.storage(), &id, FetchVersion::Newest) {
            Ok(Some(bytes)) => match RecordView::parse(&bytes).and_then(|r| r.of(id.as_ref())) {
                Ok(found) if found.header().version >= last => last = found.header().version,
                Ok(found) => wrong = Some(format!("{} after {last}", found.header().version)),
                Err(err) => wrong = Some(err.to_string()),
            },
            other => wrong = Some(format!("{other:?}")),
        }
    }
    let all_stored = saver.join();
    match wrong {
        Some(found) => {
            failed("fetching while it is saved", "a whole record, never an older one", &found)
        }
        None if matches!(all_stored, Ok(true)) => Ok(()),
        None => failed("saving while it is fetched", "Stored", &all_stored.map_err(|_| "a panic")),
    }
}

pub(super) fn batches_saved_at_once_are_all_stored(subject: &mut Subject) -> Checked {
    let key = |thread: u64, n: u64| id("p", format!("{thread} {n}"));
    let mut threads = Vec::new();
    for thread in 0..THREADS {
        let storage = Arc::clone(subject.storage());
        threads.push(start(move || {
            (0..ROUNDS).all(|round| {
                let saved: Vec<_> = (0..8)
                    .map(|n| {
                        let version = StateVersion::new(1, 1 + round);
                        record(&key(thread, n), version, &round.to_le_bytes())
                    })
                    .collect();
                save(&*storage, &saved).iter().all(|o| matches!(o, SaveOutcome::Stored))
            })
        })?);
    }
    for thread in threads {
        if !matches!(thread.join(), Ok(true)) {
            return failed("saving from several threads", "all Stored", &"another outcome");
        }
    }
    for thread in 0..THREADS {
        for n in 0..8 {
            let id = key(thread, n);
            let last = record(&id, StateVersion::new(1, ROUNDS), &(ROUNDS - 1).to_le_bytes());
            subject.expect(&id, Some(&last))?;
        }
    }
    Ok(())
}

/// A thread and what it returned.
struct Running<T> {
    thread: std::thread::JoinHandle<()>,
    result: std::sync::mpsc::Receiver<T>,
}

impl<T> Running<T> {
    fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    fn join(self) -> std::thread::Result<T> {
        self.thread.join()?;
        self.result.recv().map_err(|err| Box::new(err) as Box<dyn std::any::Any + Send>)
    }
}

fn start<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Checked<Running<T>> {
    let (tx, result) = std::sync::mpsc::channel();
    // The receiver lives until the thread is joined.
    let body = Box::new(move || drop(tx.send(body())));
    match SystemThreads.start("conformance".to_owned(), body) {
        Ok(thread) => Ok(Running { thread, result }),
        Err(err) => Err(Verdict::Failed(format!("no thread to run the check: {err}"))),
    }
}
