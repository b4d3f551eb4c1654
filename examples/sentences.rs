//! Three kinds of processing elements in a row: a splitter, a counter per word, and one classifier.
//!
//! Reads sentences on standard input, one a line. A line that says `stored` means that the process
//! can be killed and started again: no word is lost, and none is counted twice.
//!
//! ```text
//! $ echo "to be or not to be" | sentences /tmp/sentences
//! 1 to 1
//! 2 be 1
//! 3 or 1
//! 4 not 1
//! 5 to 2
//! 6 be 2
//! be=2;not=1;or=1;to=2;
//! stored
//! ```
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::time::Duration;

use anyhow::Context;
use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, FileSystemBackendCheckpointingModule,
};

/// Takes sentences apart.
#[derive(Checkpointable, Default)]
struct Splitter {
    sentences: u64,
}

impl Splitter {
    fn split(&mut self, sentence: &str) -> Vec<String> {
        self.sentences += 1;
        sentence.split_whitespace().map(str::to_owned).collect()
    }
}

/// Counts one word.
#[derive(Checkpointable, Default)]
struct Counter {
    count: u64,
}

impl Counter {
    fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Knows the counts of all words.
#[derive(Checkpointable, Default)]
struct Classifier {
    iteration: u64,
    counts: BTreeMap<String, u64>,
}

impl Classifier {
    fn classify(&mut self, word: String, count: u64) -> u64 {
        self.iteration += 1;
        self.counts.insert(word, count);
        self.iteration
    }

    fn all(&self) -> String {
        self.counts.iter().map(|(word, count)| format!("{word}={count};")).collect()
    }
}

fn main() -> anyhow::Result<()> {
    let dir = env::args_os().nth(1).context("usage: sentences DIR")?;
    let keeper = FileSystemBackendCheckpointingModule::new(dir).build()?;
    let mode = CheckpointingMode::EventCount(1.try_into()?);
    let config = CheckpointingConfig::builder(mode).build()?;
    let splitters = keeper
        .prototype::<(), Splitter>("splitter")
        .config(config.clone())
        .create(|()| Splitter::default())
        .build()?;
    let counters = keeper
        .prototype::<String, Counter>("counter")
        .config(config.clone())
        .create(|_word| Counter::default())
        .build()?;
    let classifiers = keeper
        .prototype::<(), Classifier>("classifier")
        .config(config)
        .create(|()| Classifier::default())
        .build()?;

    for sentence in io::stdin().lines() {
        let sentence = sentence?;
        // What an element sends to others is returned from its closure: a closure cannot call
        // another element, whose lock may be the same.
        for word in splitters.process((), |splitter| splitter.split(&sentence))? {
            let count = counters.process(&word, Counter::count)?;
            let iteration =
                classifiers.process((), |classifier| classifier.classify(word.clone(), count))?;
            println!("{iteration} {word} {count}");
        }
        println!("{}", classifiers.read((), Classifier::all)?);
        // Checkpoints are taken at every event, in the background; this waits for them.
        keeper.flush(Duration::from_secs(10))?;
        println!("stored");
    }
    keeper.close(Duration::from_secs(10))?;
    Ok(())
}
