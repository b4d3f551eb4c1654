//! What the tests of the workspace share.

mod program;
mod quota;

pub use program::example;
pub use quota::Quota;
