//! The two sections that say how a payload is sealed.

use crate::record::layout::{
    COMPRESSED_BYTES, COMPRESSED_WITH_DICTIONARY_BYTES, ENCRYPTED_BYTES, NONCE_BYTES,
    SECTION_COMPRESSED, SECTION_ENCRYPTED, SECTION_HEAD_BYTES, array,
};

/// What was done to a payload, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::record) struct Seals {
    pub(in crate::record) compressed: Option<Compressed>,
    pub(in crate::record) encrypted: Option<Encrypted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) struct Compressed {
    pub(super) method: u8,
    pub(super) raw_bytes: u32,
    /// Zero: none.
    pub(super) dictionary: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) struct Encrypted {
    pub(super) method: u8,
    pub(super) key: u32,
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Seals {
    /// Those among the sections of a header that was checked.
    pub(in crate::record) fn of(mut sections: &[u8]) -> Self {
        let mut seals = Self::default();
        while let Some((head, rest)) = sections.split_at_checked(SECTION_HEAD_BYTES) {
            let length = usize::try_from(u32::from_le_bytes(array(head, 2))).unwrap_or(usize::MAX);
            let Some((body, rest)) = rest.split_at_checked(length) else { break };
            seals.take_in(u16::from_le_bytes(array(head, 0)), body);
            sections = rest;
        }
        seals
    }

    /// Takes in a section, if it is one of these; `false` if it contradicts itself or another.
    pub(in crate::record) fn take_in(&mut self, section: u16, body: &[u8]) -> bool {
        match section {
            SECTION_COMPRESSED
                if [COMPRESSED_BYTES, COMPRESSED_WITH_DICTIONARY_BYTES].contains(&body.len()) =>
            {
                let [method, _, _, _] = array(body, 0);
                let compressed = Compressed {
                    method,
                    raw_bytes: u32::from_le_bytes(array(body, 4)),
                    // Zero where there is none.
                    dictionary: u64::from_le_bytes(array(body, COMPRESSED_BYTES)),
                };
                self.compressed.replace(compressed).is_none()
            }
            SECTION_ENCRYPTED if body.len() == ENCRYPTED_BYTES => {
                let [method, _, _, _] = array(body, 0);
                let encrypted = Encrypted {
                    method,
                    key: u32::from_le_bytes(array(body, 4)),
                    nonce: array(body, 8),
                };
                self.encrypted.replace(encrypted).is_none()
            }
            _ => false,
        }
    }

    pub(in crate::record) fn is_none(&self) -> bool {
        self.compressed.is_none() && self.encrypted.is_none()
    }

    pub(in crate::record) fn encrypted_with(&self) -> Option<u32> {
        self.encrypted.map(|encrypted| encrypted.key)
    }

    /// What it is compressed with: the method and the dictionary.
    pub(super) fn compressed_with(&self) -> Option<(u8, u64)> {
        self.compressed.map(|compressed| (compressed.method, compressed.dictionary))
    }

    /// Whether the same was done with the same, whatever came of it.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.encrypted_with(), self.compressed_with())
            == (other.encrypted_with(), other.compressed_with())
    }

    /// Appends the sections and returns how many bytes they have.
    pub(super) fn append(&self, bytes: &mut Vec<u8>) -> usize {
        let start = bytes.len();
        if let Some(Compressed { method, raw_bytes, dictionary }) = self.compressed {
            append_head(bytes, SECTION_COMPRESSED, compressed_bytes(dictionary));
            bytes.extend_from_slice(&[method, 0, 0, 0]);
            bytes.extend_from_slice(&raw_bytes.to_le_bytes());
            if dictionary != 0 {
                bytes.extend_from_slice(&dictionary.to_le_bytes());
            }
        }
        if let Some(Encrypted { method, key, nonce }) = self.encrypted {
            append_head(bytes, SECTION_ENCRYPTED, ENCRYPTED_BYTES);
            bytes.extend_from_slice(&[method, 0, 0, 0]);
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&nonce);
        }
        bytes.len() - start
    }
}

/// How many bytes the section of a compressed payload has.
pub(super) fn compressed_bytes(dictionary: u64) -> usize {
    if dictionary == 0 { COMPRESSED_BYTES } else { COMPRESSED_WITH_DICTIONARY_BYTES }
}

fn append_head(bytes: &mut Vec<u8>, section: u16, length: usize) {
    bytes.extend_from_slice(&section.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}
