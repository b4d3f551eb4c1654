//! Where the file of an id lies.

use crate::checkpoint_id::CheckpointIdRef;
use crate::storage::directory::file_name::{file_name, is_hex_digit};

/// How many directories the files of one prototype are spread over.
pub(super) const SHARDS: usize = 256;

/// Where the file of an id lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The directory of the prototype.
    pub(super) prototype: String,
    /// The number of the directory below it.
    pub(super) shard: u8,
    /// The name of the file in that.
    pub(super) file: String,
}

impl Place {
    pub(super) fn of(id: CheckpointIdRef<'_>) -> Self {
        Self {
            prototype: file_name(id.prototype.as_bytes()),
            shard: shard_of(id.key),
            file: file_name(id.key),
        }
    }

    pub(super) fn directory(&self) -> String {
        shard_path(&self.prototype, &shard_name(self.shard))
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.directory(), self.file)
    }
}

/// Returns the number of the directory that the file of a key lies in.
pub(super) fn shard_of(key: &[u8]) -> u8 {
    let [lowest, ..] = crc32c::crc32c(key).to_le_bytes();
    lowest
}

pub(super) fn shard_name(shard: u8) -> String {
    format!("{shard:02x}")
}

/// Returns the number of which this is the [`shard_name`].
pub(super) fn parse_shard_name(name: &str) -> Option<u8> {
    let sound = name.len() == 2 && name.bytes().all(is_hex_digit);
    u8::from_str_radix(name, 16).ok().filter(|_| sound)
}

pub(super) fn shard_path(prototype: &str, shard: &str) -> String {
    format!("{prototype}/{shard}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_did_not_name_is_no_shard() {
        for name in ["", "0", "000", "0G", "AB", "+1", "store"] {
            assert_eq!(parse_shard_name(name), None, "{name:?}");
        }
        assert_eq!(parse_shard_name("0f"), Some(15));
    }
}
