//! Numbers the prototypes of a framework.

/// The number of a prototype in its framework, for all calls between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrototypeIndex(pub usize);
