//! The example programs, as the tests start them.

use std::env::{self, consts};
use std::process::{Command, Stdio};

/// Returns a command that starts an example program without standard input.
///
/// Only a plain `cargo test --workspace` builds the programs beside the tests. A run of chosen
/// tests takes them as they were built last: `cargo build --workspace --examples` brings them up to
/// date.
///
/// # Panics
/// The program was not built.
#[must_use]
pub fn example(name: &str) -> Command {
    // The test is `target/<profile>/deps/it-…`, the program `target/<profile>/examples/<name>`.
    let test = env::current_exe().unwrap_or_default();
    let profile = test.ancestors().nth(2).map(|profile| profile.join("examples"));
    let program = profile.unwrap_or_default().join(name).with_extension(consts::EXE_EXTENSION);
    assert!(
        program.is_file(),
        "{} is missing: `cargo test --workspace` or `cargo build --workspace --examples` builds it",
        program.display()
    );
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}
