//! One processing element with two values, told what to do on standard input.
//!
//! It plays the scenarios of Apache S4's own tests: set a value, kill the process, start it again,
//! and see what came back.
//!
//! ```text
//! $ stateful_pe --state /tmp/values --mode count:1
//! set value1 message1
//! value1=message1 ; value2=
//! saved stateful/key 94 bytes
//! ^C
//! $ stateful_pe --state /tmp/values
//! set value2 message2
//! value1=message1 ; value2=message2
//! ```
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, LogStorage, OnRestoreError,
    PePrototype, SafeKeeper, StorageCallback, StorageCallbackFactory, StorageResult,
};
use checkpoint_examples::{option_value, parse_mode};
use lexopt::prelude::*;

const USAGE: &str = "\
usage: stateful_pe --state DIR [OPTIONS]

  --state DIR               keep the state in DIR
  --mode MODE               none (default), count:EVENTS or time:MILLISECONDS
  --on-restore-error WHAT   what a failed restore does: fail (default), previous or start-empty
  --fetch-wait MS           how long a restore may take; default: 1000

commands, one a line:
  set value1 TEXT           set a value, and show both
  set value2 TEXT
  show                      show both values
  checkpoint                store them now
  quit                      store what has changed, and end; so does the end of the input";

/// The key of the only processing element.
const KEY: &str = "key";

#[derive(Checkpointable)]
struct StatefulPe {
    value1: String,
    value2: String,
    /// Where the values are published. A handle cannot be stored, and need not be: each process has
    /// its own from the factory.
    #[transient]
    publisher: io::Stdout,
}

impl StatefulPe {
    fn publish(&self) -> io::Result<()> {
        let Self { value1, value2, publisher } = self;
        writeln!(publisher.lock(), "value1={value1} ; value2={value2}")
    }
}

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::parse(lexopt::Parser::from_env())? else {
        println!("{USAGE}");
        return Ok(());
    };
    let keeper = SafeKeeper::builder(LogStorage::open(&options.state)?)
        .fetching_max_wait(options.fetch_wait)
        .storage_callback_factory(PrintResults)
        .build()?;
    let config = CheckpointingConfig::builder(options.mode)
        .on_restore_error(options.on_restore_error)
        .build()?;
    let prototype = keeper
        .prototype::<String, StatefulPe>("stateful")
        .config(config)
        .create(|_key| StatefulPe {
            value1: String::new(),
            value2: String::new(),
            publisher: io::stdout(),
        })
        .build()?;

    for line in io::stdin().lines() {
        match obey(&prototype, &line?) {
            Ok(Next::Read) => {}
            Ok(Next::Quit) => break,
            // A restore that failed can be tried again by the next command.
            Err(error) => println!("error: {error:#}"),
        }
    }
    keeper.close(Duration::from_secs(10))?;
    Ok(())
}

/// What follows a command.
enum Next {
    Read,
    Quit,
}

fn obey(prototype: &PePrototype<String, StatefulPe>, command: &str) -> anyhow::Result<Next> {
    match command.splitn(3, ' ').collect::<Vec<_>>().as_slice() {
        ["set", "value1", text] => {
            prototype.process(KEY, |pe| {
                pe.value1 = (*text).to_owned();
                pe.publish()
            })??;
        }
        ["set", "value2", text] => {
            prototype.process(KEY, |pe| {
                pe.value2 = (*text).to_owned();
                pe.publish()
            })??;
        }
        ["show"] => prototype.read(KEY, StatefulPe::publish)??,
        ["checkpoint"] => match prototype.checkpoint(KEY)?.wait()? {
            Some(version) => println!("stored is version {version}"),
            None => println!("nothing to store"),
        },
        ["quit"] => return Ok(Next::Quit),
        _ => bail!("no such command: {command}"),
    }
    Ok(Next::Read)
}

/// Prints how each checkpoint ended.
struct PrintResults;

impl StorageCallback for PrintResults {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        match &result.error {
            None => println!("saved {} {} bytes", result.id, result.record_bytes),
            Some(error) => println!("failed {}: {error}", result.id),
        }
    }
}

impl StorageCallbackFactory for PrintResults {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(Self)
    }
}

struct Options {
    state: PathBuf,
    mode: CheckpointingMode,
    on_restore_error: OnRestoreError,
    fetch_wait: Duration,
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    fn parse(mut arguments: lexopt::Parser) -> anyhow::Result<Option<Self>> {
        let mut state = None;
        let mut mode = CheckpointingMode::None;
        let mut on_restore_error = OnRestoreError::Fail;
        let mut fetch_wait = 1000;
        while let Some(argument) = arguments.next().context(USAGE)? {
            match argument {
                Long("state") => state = Some(arguments.value()?.into()),
                Long("mode") => mode = option_value(&mut arguments, "mode", parse_mode)?,
                Long("on-restore-error") => {
                    on_restore_error =
                        option_value(&mut arguments, "on-restore-error", parse_policy)?;
                }
                Long("fetch-wait") => {
                    fetch_wait = option_value(&mut arguments, "fetch-wait", str::parse)?;
                }
                Long("help") | Short('h') => return Ok(None),
                other => bail!("{}\n\n{USAGE}", other.unexpected()),
            }
        }
        let state = state.with_context(|| format!("--state is missing\n\n{USAGE}"))?;
        let fetch_wait = Duration::from_millis(fetch_wait);
        Ok(Some(Self { state, mode, on_restore_error, fetch_wait }))
    }
}

fn parse_policy(name: &str) -> anyhow::Result<OnRestoreError> {
    match name {
        "fail" => Ok(OnRestoreError::Fail),
        "previous" => Ok(OnRestoreError::Previous),
        "start-empty" => Ok(OnRestoreError::StartEmpty),
        _ => bail!("no such policy: known are fail, previous and start-empty"),
    }
}
