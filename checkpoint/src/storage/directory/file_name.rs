//! Turns names and keys of any bytes into file names, never two into one.
//!
//! File names have only digits and the letters a to f, so that they mean the same on file systems
//! that ignore case or rewrite Unicode, and cannot lead out of their directory.

use sha2::{Digest, Sha256};

/// Longer names and keys are hashed: in hex, with the marker, this is what fits everywhere.
const PLAIN_BYTES_MAX: usize = 100;
// The first character says which of the two ways a name was made, so that they cannot collide.
const PLAIN: char = '0';
const HASHED: char = '1';
/// `HASHED` and the 64 digits of the hash.
const HASHED_CHARS: usize = 65;

/// Returns the file name of a prototype's name, a key or the name of a metadata value.
pub(in crate::storage) fn file_name(bytes: &[u8]) -> String {
    if bytes.len() <= PLAIN_BYTES_MAX {
        hex(PLAIN, bytes)
    } else {
        hex(HASHED, &Sha256::digest(bytes))
    }
}

/// Returns whether [`file_name`] could have made this name. Anything else in a store is not ours.
pub(in crate::storage) fn is_file_name(name: &str) -> bool {
    let digits = name.get(1..).unwrap_or_default();
    let sound = digits.bytes().all(is_hex_digit) && digits.len().is_multiple_of(2);
    match name.chars().next() {
        Some(PLAIN) => sound && digits.len() <= 2 * PLAIN_BYTES_MAX,
        Some(HASHED) => sound && name.len() == HASHED_CHARS,
        _ => false,
    }
}

pub(in crate::storage) fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn hex(marker: char, bytes: &[u8]) -> String {
    let mut name = String::with_capacity(1 + 2 * bytes.len());
    name.push(marker);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            name.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::random::{RandomSource, SeededRandom};

    #[test]
    fn names_are_short_hex_whatever_the_bytes() {
        assert_eq!(file_name(b""), "0");
        assert_eq!(file_name(b"../\0"), "02e2e2f00");
        assert_eq!(file_name(&[0xFF; 100]).len(), 201);
        assert_eq!(file_name(&[0xFF; 101]).len(), HASHED_CHARS);
        assert_eq!(file_name(&[0; 65_536]).len(), HASHED_CHARS);
        for bytes in [&b""[..], b"alice", &[0xFF; 100], &[0; 101]] {
            assert!(is_file_name(&file_name(bytes)), "{bytes:?}");
        }
    }

    #[test]
    fn a_key_that_spells_the_hash_of_another_has_another_name() {
        let long = [7; 200];
        let hash = Sha256::digest(long);
        assert_ne!(file_name(&long), file_name(&hash));
        assert_ne!(file_name(&long), file_name(file_name(&long).as_bytes()));
    }

    #[test]
    fn what_we_did_not_write_is_not_taken_for_ours() {
        let long = "0".repeat(203);
        for name in ["", "README", "2ab", "0a", "0AB", "0ab.tmp", "1ab", "..", "0..", &long] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn keys_of_every_short_length_and_edge_have_names_of_their_own() {
        let mut seen = HashMap::new();
        for length in (0..=300).chain([4_096, 65_535, 65_536]) {
            for fill in [0_u8, 1, b'.', b'/', 0xFF] {
                let key = vec![fill; length];
                if let Some(other) = seen.insert(file_name(&key), key.clone()) {
                    assert_eq!(other, key);
                }
            }
        }
        assert_eq!(seen.len(), 303 * 5 + 1);
    }
    #[test]
    fn random_keys_have_plain_names_of_their_own() {
        let random = SeededRandom::new(1);
        let mut seen = HashMap::new();
        for _ in 0..20_000 {
            // Short ones often enough to meet again.
            let length =
                random.next_u64() % if random.next_u64().is_multiple_of(2) { 3 } else { 300 };
            let key: Vec<u8> = (0..length).map(|_| random.next_u64().to_le_bytes()[0]).collect();
            let name = file_name(&key);
            assert!(name.bytes().all(is_hex_digit) && name.len() <= 201, "{name}");
            assert!(is_file_name(&name));
            if let Some(other) = seen.insert(name, key.clone()) {
                assert_eq!(other, key);
            }
        }
        assert!(seen.len() > 9_000);
    }
}
