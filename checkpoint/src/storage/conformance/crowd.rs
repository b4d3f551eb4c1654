//! Several callers of one storage at once.

use std::sync::{Arc, Barrier};

use crate::storage::conformance::bounded::bounded;
use crate::storage::conformance::client::{Checked, Client};

/// Has so many threads do `work` at once, each with its number, and returns what came of it. If one
/// fails, so does the check.
pub(super) fn at_once<T: Send + 'static>(
    client: &Client,
    threads: u64,
    work: impl Fn(&Client, u64) -> Checked<T> + Send + Sync + 'static,
) -> Checked<Vec<T>> {
    let work = Arc::new(work);
    let start = Arc::new(Barrier::new(usize::try_from(threads).unwrap_or(1)));
    let names: Vec<_> = (0..threads).map(|thread| format!("thread {thread}")).collect();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .zip(&names)
            .map(|(thread, name)| {
                let caller = client.named(name);
                let (work, start) = (Arc::clone(&work), Arc::clone(&start));
                let body = move || {
                    start.wait();
                    work(&caller, thread)
                };
                scope.spawn(move || bounded(name, &client.trail, client.patience(), body))
            })
            .collect();
        let results = running.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => unreachable!("panics were caught inside"),
        });
        // All are waited for, whatever one of them says.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}
