//! What the tests of the workspace share.

mod conversation;
mod program;
mod quota;

pub use conversation::Conversation;
pub use program::example;
pub use quota::Quota;
