//! What the tests of the workspace share.

mod quota;

pub use quota::Quota;
