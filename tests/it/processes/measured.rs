//! Programs that are run to see how much memory they take.

use std::path::Path;
use std::process::Command;

/// Runs one of the programs beside the tests with so many keys, and returns what it prints.
#[track_caller]
pub(super) fn measured(program: &str, keys: u64, what: &str) -> Vec<String> {
    let name = Path::new(program).file_name().unwrap().display();
    let mut program = Command::new(program);
    // Tables that have grown give their old memory back at once. Left to itself, the allocator
    // keeps some of it, more or less by the order in which the threads come.
    program.env("MALLOC_MMAP_THRESHOLD_", "65536");
    let output = program.args([&keys.to_string(), what]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {what}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The numbers in a line of names and numbers.
pub(super) fn numbers(line: &str) -> Vec<u64> {
    line.split(' ').filter_map(|word| word.parse().ok()).collect()
}
