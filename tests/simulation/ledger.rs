//! The state of the simulated PEs: it says whose it is, and which change was its last.

use std::panic::resume_unwind;

use checkpoint::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Schema};

use super::dice::mix;

/// What a planned panic throws. Thrown without the panic hook, so that nothing is printed.
struct Planned;

/// Panics as a history has planned it: quietly.
pub fn planned_panic() -> ! {
    resume_unwind(Box::new(Planned))
}

/// Every field follows from the history of changes, so that a mixture of two states is noticed.
#[derive(Checkpointable, Debug, Clone)]
pub(super) struct Ledger {
    pub(super) owner: u64,
    /// The number of the last change; 0 if there was none.
    pub(super) serial: u64,
    pub(super) events: u64,
    /// Made of the numbers of all changes.
    pub(super) digest: u64,
    pub(super) filler: Vec<u8>,
    pub(super) trap: Trap,
}

/// What happens when a state is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trap {
    None,
    Refuses,
    Panics,
}

impl Ledger {
    pub(super) fn new(owner: u64) -> Self {
        let filler = Vec::new();
        Self { owner, serial: 0, events: 0, digest: 0, filler, trap: Trap::None }
    }

    pub(super) fn change(&mut self, serial: u64, filler_bytes: usize, trap: Trap) {
        self.serial = serial;
        self.events += 1;
        self.digest = mix(self.digest ^ serial);
        self.filler.clear();
        self.filler.resize(filler_bytes, serial.to_le_bytes()[0]);
        self.trap = trap;
    }

    /// What must be the same in every copy of the state after one change.
    pub(super) fn content(&self) -> Content {
        let first = self.filler.first().copied();
        // Compared with itself, one further: fast also for large ones.
        let is_even =
            self.filler.is_empty() || self.filler[1..] == self.filler[..self.filler.len() - 1];
        Content {
            owner: self.owner,
            serial: self.serial,
            events: self.events,
            digest: self.digest,
            filler: (self.filler.len(), first, is_even),
        }
    }
}

/// A state, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) owner: u64,
    pub(super) serial: u64,
    events: u64,
    digest: u64,
    filler: (usize, Option<u8>, bool),
}

impl Checkpointable for Trap {
    type Staged = ();
    const MIN_SIZE: usize = u8::MIN_SIZE;
    const SCHEMA: &'static Schema = u8::SCHEMA;

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Self::None => 0_u8.encode(encoder),
            Self::Refuses => Err(EncodeError::custom("a trap")),
            Self::Panics => planned_panic(),
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        u8::decode(decoder).map(drop)
    }

    fn encode_staged((): &(), encoder: &mut Encoder) -> Result<(), EncodeError> {
        0_u8.encode(encoder)
    }

    fn apply(&mut self, (): ()) {
        *self = Self::None;
    }
}
