//! How far each source need not feed again, kept with the store.
//!
//! One small value for all sources: it is written once an interval, however many there are.

use std::sync::{Arc, Weak};

use crate::inputs::{Known, SourceState, Sources};
use crate::random::RandomSource;
use crate::record::SourceId;
use crate::source::SourceError;
use crate::storage::{
    METADATA_BYTES_MAX, MetadataVersion, StateStorage, StorageError, StorageErrorKind,
};
use crate::sync::{Mutex, Ordering};

/// The name of the value.
const SOURCES: &str = "sources";
/// The first byte of the value.
const VERSION: u8 = 1;
/// The bytes of a source beside its name.
const FIXED_BYTES: usize = 8 + 8 + 8 + 2;
const CHECKSUM_BYTES: usize = 4;
const NAME_BYTES_MAX: usize = 200;

/// What a source is to be safe to.
pub(crate) struct Target {
    pub(crate) source: Arc<SourceState>,
    pub(crate) safe: u64,
    /// How often it had been rewound then: if it has been since, this is void.
    pub(crate) rewinds: u64,
}

impl Target {
    /// What the source has come to, if that is more than is known to be safe.
    pub(crate) fn of(source: Arc<SourceState>) -> Option<Self> {
        let rewinds = source.rewinds.load(Ordering::Acquire);
        let safe = source.reached();
        (safe > source.safe()).then_some(Self { source, safe, rewinds })
    }
}

/// Keeps what is known of the sources.
pub(crate) struct PositionStore {
    pub(crate) sources: Arc<Sources>,
    storage: Weak<dyn StateStorage>,
    random: Arc<dyn RandomSource>,
    /// Held while the value is written.
    written: Mutex<Written>,
}

/// What this keeper knows of the value.
#[derive(Default)]
struct Written {
    version: Option<MetadataVersion>,
    /// What it last wrote, and what it tried to write since and was told that it had failed.
    tried: Vec<Vec<u8>>,
}

impl Written {
    /// Whether this keeper wrote it.
    fn is_mine(&self, bytes: &[u8]) -> bool {
        self.tried.iter().any(|tried| tried == bytes)
    }
}

/// So many failed attempts are remembered: more than are made while one is still on its way.
const TRIED_MAX: usize = 16;

impl PositionStore {
    /// Reads what the store knows.
    ///
    /// # Errors
    /// The storage cannot be read, or the value is damaged.
    pub(crate) fn open(
        storage: &Arc<dyn StateStorage>,
        random: Arc<dyn RandomSource>,
    ) -> Result<Self, StorageError> {
        let found = storage.metadata(SOURCES)?;
        let (version, known) = match found {
            None => (None, Vec::new()),
            Some(metadata) => match decode(&metadata.bytes) {
                Some(known) => (Some(metadata.version), known),
                None => return Err(damaged()),
            },
        };
        let sources = Sources::new(&known).map_err(|_| damaged())?;
        let storage = Arc::downgrade(storage);
        let written = Mutex::new(Written { version, tried: Vec::new() });
        Ok(Self { sources: Arc::new(sources), storage, random, written })
    }

    /// Whether the keeper has ended: nothing is written any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.storage.strong_count() == 0
    }

    /// Returns the source of this name, which nobody else has open.
    pub(crate) fn open_source(&self, name: &str) -> Result<Arc<SourceState>, SourceError> {
        let source_name: Arc<str> = name.into();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(SourceError::InvalidName { source_name });
        }
        let source = match self.sources.of_name(name) {
            Some(source) => source,
            None => self.add(&source_name)?,
        };
        match source.is_open.swap(true, Ordering::AcqRel) {
            true => Err(SourceError::AlreadyOpen { source_name }),
            false => Ok(source),
        }
    }

    /// Has the store learn of a source: before a record names it.
    fn add(&self, name: &Arc<str>) -> Result<Arc<SourceState>, SourceError> {
        let mut written = self.written.lock();
        // Somebody may have been quicker.
        if let Some(source) = self.sources.of_name(name) {
            return Ok(source);
        }
        let too_many = || SourceError::TooMany { source_name: name.clone() };
        let mut id = SourceId(self.random.next_u64());
        while self.sources.all().iter().any(|source| source.id == id) {
            id = SourceId(self.random.next_u64());
        }
        let known = Known { name: name.clone(), id, safe: 0, floor: 0 };
        let mut all = self.known();
        all.push(known.clone());
        let bytes = encode(&all);
        if bytes.len() > METADATA_BYTES_MAX {
            return Err(too_many());
        }
        let attempted = || format!("open source `{name}`");
        self.put(&mut written, &bytes, attempted)?;
        self.sources.add(&known).map_err(|_| too_many())
    }

    /// Makes durable what sources are safe to. Returns those that were not rewound meanwhile.
    pub(crate) fn store(&self, targets: Vec<Target>) -> Result<Vec<Arc<SourceState>>, SourceError> {
        let mut written = self.written.lock();
        let mut moved = Vec::new();
        for Target { source, safe, rewinds } in targets {
            // It may have been found since that events of it are lost.
            let safe = safe.min(source.reached());
            if source.rewinds.load(Ordering::Acquire) == rewinds && safe > source.safe() {
                moved.push((source, safe));
            }
        }
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = self.known();
        for known in &mut all {
            if let Some((_, safe)) = moved.iter().find(|(source, _)| source.id == known.id) {
                (known.safe, known.floor) = (*safe, known.floor.max(*safe));
            }
        }
        self.put(&mut written, &encode(&all), || "keep what sources resume from".to_owned())?;
        let taken = moved.into_iter().map(|(source, safe)| {
            source.became_safe(safe);
            source
        });
        Ok(taken.collect())
    }

    /// Has a source feed again from a position on.
    pub(crate) fn rewind(&self, source: &SourceState, to: u64) -> Result<(), SourceError> {
        let mut written = self.written.lock();
        let safe = to.min(source.safe());
        let mut all = self.known();
        for known in all.iter_mut().filter(|known| known.id == source.id) {
            known.safe = safe;
        }
        let attempted = || format!("rewind source `{}`", source.shown());
        self.put(&mut written, &encode(&all), attempted)?;
        // Before the count: a round that sees the new count sees this, too.
        source.completed.fetch_min(to, Ordering::AcqRel);
        source.rewinds.fetch_add(1, Ordering::AcqRel);
        source.became_safe(safe);
        Ok(())
    }

    fn known(&self) -> Vec<Known> {
        self.sources.all().iter().filter_map(|source| source.known()).collect()
    }

    fn put(
        &self,
        written: &mut Written,
        bytes: &[u8],
        attempted: impl Fn() -> String,
    ) -> Result<(), SourceError> {
        let Some(storage) = self.storage.upgrade() else {
            return Err(SourceError::Closed { attempted: attempted() });
        };
        let failed =
            |error| SourceError::Storage { attempted: attempted(), error: Arc::new(error) };
        let mut put = storage.put_metadata(SOURCES, written.version, bytes);
        if let Err(error) = &put
            && error.kind() == StorageErrorKind::Conflict
        {
            // What this keeper wrote before may be there, though it was told that it had failed;
            // what anybody else wrote must stay.
            let found = storage.metadata(SOURCES).map_err(failed)?;
            if found.as_ref().is_none_or(|found| written.is_mine(&found.bytes)) {
                written.version = found.map(|found| found.version);
                put = storage.put_metadata(SOURCES, written.version, bytes);
            }
        }
        match put {
            Ok(version) => {
                *written = Written { version: Some(version), tried: vec![bytes.to_vec()] };
                Ok(())
            }
            Err(error) => {
                if written.tried.len() >= TRIED_MAX {
                    written.tried.remove(1);
                }
                written.tried.push(bytes.to_vec());
                Err(failed(error))
            }
        }
    }
}

fn damaged() -> StorageError {
    let attempted = format!("read what sources resume from (metadata \"{SOURCES}\")");
    StorageError::new(StorageErrorKind::Corrupt, attempted)
}

/// Writes the value as `FORMAT.md` says.
fn encode(all: &[Known]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for known in all {
        bytes.extend_from_slice(&known.id.0.to_le_bytes());
        bytes.extend_from_slice(&known.safe.to_le_bytes());
        bytes.extend_from_slice(&known.floor.to_le_bytes());
        // Names are short.
        let length = u16::try_from(known.name.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(known.name.as_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the value; `None` if it is damaged, or of a later version.
fn decode(bytes: &[u8]) -> Option<Vec<Known>> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (version, mut rest) = body.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (fixed, behind) = rest.split_first_chunk::<FIXED_BYTES>()?;
        let (numbers, length) = fixed.split_last_chunk::<2>()?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n));
        let length = usize::from(u16::from_le_bytes(*length));
        let (name, behind) = behind.split_at_checked(length)?;
        let name = std::str::from_utf8(name).ok()?.into();
        let id = SourceId(numbers.next()?);
        let (safe, floor) = (numbers.next()?, numbers.next()?);
        if safe > floor {
            return None;
        }
        all.push(Known { name, id, safe, floor });
        rest = behind;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::InMemoryStorage;

    /// Gives numbers that were chosen.
    #[derive(Debug)]
    struct Numbers(Mutex<Vec<u64>>);

    impl RandomSource for Numbers {
        fn next_u64(&self) -> u64 {
            self.0.lock().pop().unwrap()
        }
    }

    #[test]
    fn an_id_that_is_drawn_again_is_not_given_twice() {
        let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
        let numbers = Arc::new(Numbers(Mutex::new(vec![6, 5, 6, 5])));
        let id = |store: &PositionStore, name| store.open_source(name).unwrap().id;
        let store = PositionStore::open(&storage, numbers.clone()).unwrap();
        assert_eq!(["a", "b"].map(|name| id(&store, name)), [SourceId(5), SourceId(6)]);
        // Nor are those of sources of which only the store knows.
        numbers.0.lock().extend([7, 6, 5]);
        let store = PositionStore::open(&storage, numbers).unwrap();
        let ids = ["c", "b", "a"].map(|name| id(&store, name));
        assert_eq!(ids, [SourceId(7), SourceId(6), SourceId(5)]);
    }

    #[test]
    fn what_is_known_is_read_as_it_was_written() {
        let known = |name: &str, id, safe, floor| Known {
            name: name.into(),
            id: SourceId(id),
            safe,
            floor,
        };
        let all = [known("a", 1, 5, 9), known(&"ü".repeat(100), u64::MAX, 0, 0)];
        let bytes = encode(&all);
        assert_eq!(decode(&bytes).as_deref(), Some(&all[..]));
        assert_eq!(decode(&encode(&[])).as_deref(), Some(&[][..]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "{at} bytes");
        }
        // Sound, and yet not to be believed.
        assert_eq!(decode(&encode(&[known("a", 1, 6, 5)])), None);
    }
}
