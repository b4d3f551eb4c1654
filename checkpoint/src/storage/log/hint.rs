//! The hint of a segment: which records it has and where, so that opening the log need not read
//! them.
//!
//! Specified in `checkpoint/FORMAT.md`. A hint is never needed: where there is none, or one that
//! does not fit its segment in every byte, the segment itself is read, and the hint written anew.

use std::io;
use std::str;

use crate::checkpoint_id::{CheckpointIdRef, KEY_BYTES_MAX, PROTOTYPE_NAME_BYTES_MAX};
use crate::record::{RecordHeader, RecordKind, StateVersion, captured_seconds};
use crate::storage::directory::store::Store;
use crate::storage::log::layout::SegmentHead;
use crate::storage::log::place::Place;
use crate::storage::log::segment::segment_path;

const MAGIC: [u8; 4] = [0x89, b'C', b'K', b'H'];
const FORMAT_VERSION: u8 = 1;
const HEAD_BYTES: usize = 40;
const CHECKSUM_BYTES: usize = 4;
const STATE: u8 = 0;
const TOMBSTONE: u8 = 1;
const NAME: u8 = 2;
/// It is made and read in memory: a segment of more records than fit has none.
const HINT_BYTES_MAX: usize = 64 << 20;
const SUFFIX: &str = ".hint";

/// Returns the path of a segment's hint.
pub(super) fn hint_path(number: u32) -> String {
    format!("{}{SUFFIX}", segment_path(number))
}

/// Returns the name of the segment that a file of this name would be the hint of.
pub(super) fn segment_of(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

/// A hint that is being made.
pub(super) struct HintWriter {
    bytes: Vec<u8>,
    names: Vec<String>,
    is_too_long: bool,
}

impl HintWriter {
    pub(super) fn new(segment: SegmentHead, valid_bytes: u64) -> Self {
        let bytes = head(segment, valid_bytes).to_vec();
        Self { bytes, names: Vec::new(), is_too_long: false }
    }

    /// Adds a record of the segment; they come in the order in which they lie there.
    pub(super) fn add(&mut self, header: &RecordHeader<'_>, offset: u64, record: &[u8]) {
        let CheckpointIdRef { prototype, key } = header.id;
        if self.is_too_long {
            return;
        }
        let known = self.names.iter().rposition(|name| name == prototype);
        let name = known.unwrap_or_else(|| {
            self.bytes.push(NAME);
            self.bytes.extend_from_slice(&number_of(prototype.len()).to_le_bytes());
            self.bytes.extend_from_slice(prototype.as_bytes());
            self.names.push(prototype.to_owned());
            self.names.len() - 1
        });
        self.bytes.push(match header.kind {
            RecordKind::State => STATE,
            RecordKind::Tombstone => TOMBSTONE,
        });
        for number in [number_of(name), number_of(key.len())] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [header.version.epoch.0, header.version.sequence.0] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        for number in [offset, number_of(record.len()), captured_seconds(record)] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.is_too_long = self.bytes.len() > HINT_BYTES_MAX - CHECKSUM_BYTES;
    }

    /// Whether there are more records than a hint may have.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Writes the file, and returns how many bytes it has. Nothing is synced: what a loss of power
    /// leaves of it has another checksum.
    ///
    /// # Errors
    /// There is no new hint.
    pub(super) fn write(mut self, store: &Store, number: u32) -> io::Result<u64> {
        let checksum = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        store.clear_leftovers()?;
        let temporary = store.write_temporary(&self.bytes, false)?;
        let renamed = store.files.rename(&temporary, &hint_path(number));
        renamed.inspect_err(|_| store.discard(&temporary))?;
        Ok(self.bytes.len() as u64)
    }
}

/// A hint that fits its segment.
pub(super) struct Hint {
    bytes: Vec<u8>,
    valid_bytes: u64,
}

/// What became of an attempt to read a hint.
pub(super) enum HintRead {
    Found(Hint),
    Missing,
    /// It cannot be read, is damaged, torn, of a newer version, or of something else.
    Unusable,
}

impl Hint {
    /// Reads the hint of a segment of which so many bytes count.
    pub(super) fn read(store: &Store, segment: SegmentHead, valid_bytes: u64) -> HintRead {
        let read = match store.read(&hint_path(segment.number), HINT_BYTES_MAX as u64) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return HintRead::Missing,
            // It is not needed: what is wrong with it is no reason not to open the log.
            Err(_) => return HintRead::Unusable,
            Ok(read) => read,
        };
        let Ok(mut bytes) = read else { return HintRead::Unusable };
        let content = bytes.split_last_chunk::<CHECKSUM_BYTES>().filter(|(content, checksum)| {
            content.starts_with(&head(segment, valid_bytes))
                && crc32c::crc32c(content) == u32::from_le_bytes(**checksum)
        });
        let Some(content_bytes) = content.map(|(content, _)| content.len()) else {
            return HintRead::Unusable;
        };
        bytes.truncate(content_bytes);
        let hint = Self { bytes, valid_bytes };
        // Before the first is believed: what is read of the segment itself must not come twice.
        match hint.visit(&mut |_, _| {}) {
            Some(()) => HintRead::Found(hint),
            None => HintRead::Unusable,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.bytes.len() + CHECKSUM_BYTES) as u64
    }

    /// Tells of each record of the segment. `None` if something is not as a hint has it, which
    /// [`read`](Self::read) has ruled out.
    pub(super) fn visit(
        &self,
        found: &mut dyn FnMut(CheckpointIdRef<'_>, HintedRecord),
    ) -> Option<()> {
        let mut rest = self.bytes.get(HEAD_BYTES..)?;
        let mut names = Vec::new();
        while let [kind, behind @ ..] = rest {
            if *kind == NAME {
                let (length, behind) = take_u32(behind)?;
                let (name, behind) = behind.split_at_checked(length as usize)?;
                if name.len() > PROTOTYPE_NAME_BYTES_MAX {
                    return None;
                }
                names.push(str::from_utf8(name).ok()?);
                rest = behind;
                continue;
            }
            let (name, behind) = take_u32(behind)?;
            let (key_bytes, behind) = take_u32(behind)?;
            let (epoch, behind) = take_u64(behind)?;
            let (sequence, behind) = take_u64(behind)?;
            let (offset, behind) = take_u32(behind)?;
            let (record_bytes, behind) = take_u32(behind)?;
            let (captured_at, behind) = take_u32(behind)?;
            let (key, behind) = behind.split_at_checked(key_bytes as usize)?;
            let end = u64::from(offset) + u64::from(record_bytes);
            if key.len() > KEY_BYTES_MAX || end > self.valid_bytes {
                return None;
            }
            let kind = match *kind {
                STATE => RecordKind::State,
                TOMBSTONE => RecordKind::Tombstone,
                _ => return None,
            };
            let prototype = names.get(name as usize)?;
            let version = StateVersion::new(epoch, sequence);
            let record = HintedRecord { version, kind, offset, record_bytes, captured_at };
            found(CheckpointIdRef { prototype, key }, record);
            rest = behind;
        }
        Some(())
    }
}

/// A record, as a hint has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HintedRecord {
    version: StateVersion,
    kind: RecordKind,
    offset: u32,
    record_bytes: u32,
    captured_at: u32,
}

impl HintedRecord {
    pub(super) fn kind(self) -> RecordKind {
        self.kind
    }

    pub(super) fn place(self, segment: u32) -> Place {
        let Self { version, kind, offset, record_bytes, captured_at } = self;
        Place::known(version, kind, record_bytes, captured_at, (segment, offset))
    }
}

/// What a hint of this segment begins with.
fn head(segment: SegmentHead, valid_bytes: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let fields: [(usize, &[u8]); 5] = [
        (0, &MAGIC),
        (4, &[FORMAT_VERSION]),
        (8, &u64::from(segment.number).to_le_bytes()),
        (16, &segment.identity.to_le_bytes()),
        (32, &valid_bytes.to_le_bytes()),
    ];
    for (at, field) in fields {
        if let Some(place) = head.get_mut(at..at + field.len()) {
            place.copy_from_slice(field);
        }
    }
    head
}

fn number_of(count: usize) -> u32 {
    // All that is counted here has a limit below that.
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_le_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}
