//! What may come back of a PE that was removed, as long as that is not stored.

/// A removal that is not known to be stored.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    /// The last change of any PE before it.
    last_serial: u64,
    /// Older states that were put in the PE's place since then.
    reinstated: Vec<u64>,
    /// Older states of which this is not certain: whoever asked was told of an error.
    maybe_reinstated: Vec<u64>,
}

impl Removal {
    /// After this change of any PE.
    pub(super) const fn after(last_serial: u64) -> Self {
        Self { last_serial, reinstated: Vec::new(), maybe_reinstated: Vec::new() }
    }

    /// An older state was put in the PE's place: nothing that was captured before the removal was
    /// on its way any more.
    pub(super) fn reinstate(&mut self, serial: u64) {
        self.reinstated.push(serial);
    }

    /// The same, if it has come to that.
    pub(super) fn maybe_reinstate(&mut self, serial: u64) {
        self.maybe_reinstated.push(serial);
    }

    /// Whether this state can only have been captured after the removal.
    pub(super) fn is_before(&self, serial: u64) -> bool {
        serial > self.last_serial || self.reinstated.contains(&serial)
    }

    /// Whether the removal is stored too if this state is, which the PE may be now or not: it can
    /// have been captured before the removal, and be what was perhaps put in the PE's place since.
    pub(super) fn ends_with(&self, serial: u64, may_be_now: bool) -> bool {
        self.is_before(serial) || may_be_now && !self.maybe_reinstated.contains(&serial)
    }

    /// Whether the PE may come back as this state, if that is stored.
    pub(super) fn allows(&self, serial: u64) -> bool {
        self.is_before(serial) || self.maybe_reinstated.contains(&serial)
    }
}
