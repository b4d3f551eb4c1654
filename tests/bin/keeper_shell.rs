//! Does with a keeper over a store what it is told, line by line.
//!
//! Arguments: `files` or `log`, and the directory. Prints `open`, or why not, and for each command
//! one line: `add KEY [BYTES]` counts an event in a state of that size, `store KEY MILLISECONDS`
//! asks for a checkpoint and waits for so long, `read KEY`, `evict KEY`, `stats`, `close`.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use checkpoint::{Checkpointable, CheckpointingConfig, CheckpointingMode, PePrototype, SafeKeeper};
use checkpoint_tests::Backend;

#[derive(Checkpointable, Default)]
struct Counter {
    count: u64,
    ballast: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: keeper_shell files|log DIRECTORY";
    let backend = std::env::args().nth(1).and_then(|name| Backend::named(&name)).ok_or(usage)?;
    let root = std::env::args().nth(2).ok_or(usage)?;
    let mut out = io::stdout();
    let storage = match backend.open(&root) {
        Ok(storage) => storage,
        Err(err) => {
            writeln!(out, "not open: {}", chain(&err))?;
            return Ok(());
        }
    };
    let keeper = SafeKeeper::builder_over(storage)
        // However busy the machine is.
        .fetching_max_wait(Duration::from_secs(60))
        .save_attempts_max(2.try_into()?)
        .save_backoff_max(Duration::from_millis(200))
        .fetching_disabled_duration(Duration::from_millis(100))
        .build()?;
    let counters = keeper
        .prototype::<String, Counter>("p")
        .config(CheckpointingConfig::builder(CheckpointingMode::None).build()?)
        .create(|_| Counter::default())
        .build()?;
    writeln!(out, "open")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["close"] => match keeper.close(Duration::from_secs(5)) {
                Ok(report) => format!("closed: {report}"),
                Err(err) => format!("not closed: {err}"),
            },
            ["stats"] => {
                let stats = keeper.stats();
                format!("stats batches {} failed {}", stats.batches, stats.failed)
            }
            _ => answer(&counters, &words).unwrap_or_else(|err| format!("error: {}", chain(&*err))),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn answer(
    counters: &PePrototype<String, Counter>,
    words: &[&str],
) -> Result<String, Box<dyn Error>> {
    Ok(match words {
        ["add", key, size @ ..] => {
            let bytes = size.first().map_or(Ok(0), |size| size.parse())?;
            let count = counters.process(*key, |counter| {
                counter.ballast.resize(bytes, 1);
                counter.count += 1;
                counter.count
            })?;
            format!("added {count}")
        }
        ["store", key, millis] => {
            let ticket = counters.checkpoint(*key)?;
            match ticket.wait_timeout(Duration::from_millis(millis.parse()?)) {
                None => "waiting".to_owned(),
                Some(Ok(_)) => "stored".to_owned(),
                Some(Err(err)) => format!("failed: {}", chain(&err)),
            }
        }
        ["read", key] => format!("read {}", counters.read(*key, |counter| counter.count)?),
        ["evict", key] => format!("evicted: {:?}", counters.evict(*key)?),
        _ => return Err(format!("no such command: {words:?}").into()),
    })
}

fn chain(err: &dyn Error) -> String {
    let causes = std::iter::successors(err.source(), |err| (*err).source());
    causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"))
}
