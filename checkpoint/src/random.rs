//! Randomness, as the library sees it: from an injected source, so that a run can be repeated.

use std::fmt;

use crate::sync::Mutex;

/// Gives random numbers: for jitter, hash seeds and instance ids, never for secrets.
pub trait RandomSource: Send + Sync + fmt::Debug {
    /// Returns the next number.
    fn next_u64(&self) -> u64;
}

/// Random numbers that nobody can foresee: seeded by the operating system.
#[derive(Debug)]
pub struct SystemRandom(SeededRandom);

impl SystemRandom {
    /// Returns a source seeded by the operating system.
    #[must_use]
    pub fn new() -> Self {
        // Where the system gives no randomness (early at boot), the address of a fresh allocation
        // is what is left; nothing that must be right depends on the numbers.
        let seed = getrandom::u64().unwrap_or_else(|_| {
            let somewhere = Box::new(0_u8);
            std::ptr::from_ref(&*somewhere).addr() as u64
        });
        Self(SeededRandom::new(seed))
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl RandomSource for SystemRandom {
    fn next_u64(&self) -> u64 {
        self.0.next_u64()
    }
}

/// Random numbers that are the same for the same seed (`SplitMix64`, Steele, Lea and Flood 2014).
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// Returns the source of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl RandomSource for SeededRandom {
    fn next_u64(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
