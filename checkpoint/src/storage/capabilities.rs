//! What a storage can do, as data that the keeper and the conformance kit read.

/// What a storage promises and offers.
///
/// A storage finds out what its server can do when it is opened; what it declares here is what the
/// conformance kit tests and what the keeper relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageCapabilities {
    /// What an acknowledged save survives.
    pub durability: Durability,
    /// Whether an older version is refused in one step with the write that it would replace.
    pub compare_and_set: CompareAndSet,
    /// How many older versions of a state are kept, besides the newest.
    pub older_versions_max: u64,
    /// The most bytes that a record can have.
    pub record_bytes_max: u64,
}

/// What an acknowledged save survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Nothing: the states go with the process.
    None,
    /// The end of the process by any cause, but not a loss of power.
    Process,
    /// A loss of power.
    Power,
    /// The loss of a machine.
    Replicated,
}

/// How far a storage itself keeps older versions from replacing newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CompareAndSet {
    /// Not at all, other than against writes of this process.
    None,
    /// For each key alone.
    PerKey,
    /// For a partition: a writer that lost it cannot write any key of it.
    PerPartition,
}

impl StorageCapabilities {
    /// Returns the capabilities of a storage that keeps newest versions of records of any size,
    /// refuses older versions per key, and survives what `durability` says.
    #[must_use]
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            compare_and_set: CompareAndSet::PerKey,
            older_versions_max: 0,
            record_bytes_max: u64::MAX,
        }
    }

    /// Sets how far older versions are refused.
    #[must_use]
    pub fn with_compare_and_set(self, compare_and_set: CompareAndSet) -> Self {
        Self { compare_and_set, ..self }
    }

    /// Sets how many older versions are kept.
    #[must_use]
    pub fn with_older_versions_max(self, older_versions_max: u64) -> Self {
        Self { older_versions_max, ..self }
    }

    /// Sets the size of the largest record.
    #[must_use]
    pub fn with_record_bytes_max(self, record_bytes_max: u64) -> Self {
        Self { record_bytes_max, ..self }
    }
}
