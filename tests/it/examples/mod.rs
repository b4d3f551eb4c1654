//! The example programs do what they say, run as a user runs them.

mod others;
mod sentences;
mod stateful_pe;
mod word_count;

use std::io;
use std::process::Output;

/// Runs a program that has to succeed, and returns what it printed.
#[track_caller]
fn succeed(output: io::Result<Output>) -> String {
    let output = output.unwrap_or_else(|err| panic!("the program does not start: {err}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{error}", output.status);
    assert_eq!(error, "", "there is no terminal to show progress on");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
