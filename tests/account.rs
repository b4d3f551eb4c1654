//! A state that shows whether anything of it was lost, applied twice or mixed up.

use checkpoint::Checkpointable;

/// Counts the events of one key, each of which has its number, from 1 on.
#[derive(Checkpointable, Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    key: u64,
    // The number of the last event.
    position: u64,
    // How many events were applied, whatever their numbers.
    events: u64,
    // Over the numbers of all events, in their order.
    digest: u64,
    // Of a length and a content that follow from the rest: halves of two states do not match.
    padding: Vec<u8>,
}

impl Account {
    /// Returns the account of a key without events.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key, ..Self::default() }
    }

    /// Applies the event of this number.
    pub fn apply(&mut self, number: u64) {
        self.position = number;
        self.events += 1;
        self.digest = digest(self.digest, number);
        self.padding = padding(self.digest);
    }

    /// Returns the number of the last event that was applied.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Returns what is wrong with this as the account of `key`.
    ///
    /// # Errors
    /// It is another key's, or an event was left out, applied twice or out of order, or it is not
    /// whole.
    pub fn check(&self, key: u64) -> Result<(), String> {
        let Self { position, events, .. } = self;
        let expected = (1..=*position).fold(0, digest);
        if self.key != key {
            return Err(format!("the account of {}, not of {key}", self.key));
        }
        if events != position || self.digest != expected {
            return Err(format!("{key}: {events} events were applied up to number {position}"));
        }
        if *position > 0 && self.padding != padding(self.digest) {
            return Err(format!("{key}: not whole, at event {position}"));
        }
        Ok(())
    }
}

const fn digest(before: u64, number: u64) -> u64 {
    (before ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}

fn padding(digest: u64) -> Vec<u8> {
    let [length, content, ..] = digest.to_le_bytes();
    vec![content; usize::from(length) * 6]
}
