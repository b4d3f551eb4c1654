//! What came of a history, and how much it tells.

use super::met::Tally;

/// What came of a history.
pub struct Outcome {
    /// The first promise that was broken.
    pub violation: Option<String>,
    /// A number that two equal histories share, if anything was told.
    pub hash: u64,
    /// What happened.
    pub text: String,
    /// How often each kind of thing happened.
    pub(super) met: Tally,
}

/// How much a history tells of itself; telling takes most of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Only what came of it.
    Nothing,
    /// How it ended.
    Last,
    /// All of it.
    All,
}
