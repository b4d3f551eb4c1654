//! What real processes go through: they are killed, run out of things, and are watched for long.

mod cold_keys;
mod descriptors;
mod durable_before_told;
mod hot_key;
mod kills;
mod measured;
mod memory;
mod places;
mod saturation;
mod scarcity;
mod soak;
mod store;
mod strace;
mod system_calls;
mod termination;
mod writer;

/// Tells what a test has seen, where its output is not captured: in the log of a long run.
#[expect(clippy::print_stdout, reason = "the test harness captures it")]
pub(crate) fn show(seen: &str) {
    println!("seen: {seen}");
}
