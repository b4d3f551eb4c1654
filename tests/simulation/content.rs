//! What the simulated storage holds, and what it insists on: it survives crashes, and is where the
//! promises about stored states are checked.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{
    CheckpointId, Epoch, FetchVersion, Key, Metadata, RecordKind, RecordView, StateLimits,
    StateVersion, restore_state,
};

use super::ledger::{Content, Ledger};
use super::trace::Trace;

/// A stored record.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) version: StateVersion,
    pub(super) kind: RecordKind,
    pub(super) bytes: Vec<u8>,
    /// `None` for tombstones, and for what is in the quarantine.
    pub(super) content: Option<Content>,
}

impl Stored {
    /// The number of the last change in it; 0 for a removal.
    pub(super) fn serial(&self) -> u64 {
        self.content.as_ref().map_or(0, |content| content.serial)
    }
}

pub(super) struct Records {
    trace: Trace,
    /// How many versions of a state are kept.
    pub(super) versions_kept: usize,
    by_id: BTreeMap<CheckpointId, Vec<Stored>>,
    /// What each version names, by partition.
    named: BTreeMap<(u32, StateVersion), (CheckpointId, Vec<u8>)>,
    /// Whose records were ever put aside; `None` for one that cannot be read.
    put_aside: BTreeSet<Option<CheckpointId>>,
    /// The serial of every version that was ever stored.
    pub(super) ever_stored: BTreeMap<(CheckpointId, StateVersion), u64>,
    /// The serial of every version that was ever given to the storage.
    pub(super) ever_offered: BTreeMap<(CheckpointId, StateVersion), u64>,
    /// The versions that the living process has given to the storage.
    pub(super) offered_by_process: BTreeSet<(CheckpointId, StateVersion)>,
    /// What was stored since the model last looked, and whether it came out of the blue.
    pub(super) news: Vec<(CheckpointId, Stored, bool)>,
    /// How often the living process has given each version to the storage, and whether that was
    /// refused for good.
    offers: BTreeMap<(CheckpointId, StateVersion), (u32, bool)>,
    /// How often it may.
    pub(super) offers_max: u32,
    /// How many records of a prototype may be put aside.
    pub(super) quarantined_max: usize,
    /// The serial that a late save has replaced, until something is stored that somebody waits for.
    replaced_late: BTreeMap<CheckpointId, u64>,
    landed_late: BTreeSet<CheckpointId>,
    /// Who has a save without an outcome.
    unfinished: BTreeSet<CheckpointId>,
    pub(super) epochs: BTreeMap<u32, Epoch>,
    pub(super) metadata: BTreeMap<String, Metadata>,
}

impl Records {
    pub(super) fn new(trace: Trace) -> Self {
        Self {
            trace,
            versions_kept: 3,
            by_id: BTreeMap::new(),
            named: BTreeMap::new(),
            put_aside: BTreeSet::new(),
            ever_stored: BTreeMap::new(),
            ever_offered: BTreeMap::new(),
            offered_by_process: BTreeSet::new(),
            news: Vec::new(),
            offers: BTreeMap::new(),
            offers_max: u32::MAX,
            quarantined_max: usize::MAX,
            replaced_late: BTreeMap::new(),
            landed_late: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            epochs: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    pub(super) fn newest(&self, id: &CheckpointId) -> Option<&Stored> {
        self.by_id.get(id)?.first()
    }

    /// The number of the last change that is stored; 0 if nothing is, or a removal.
    pub(super) fn newest_serial(&self, id: &CheckpointId) -> u64 {
        self.newest(id).map_or(0, Stored::serial)
    }

    pub(super) fn versions(&self, id: &CheckpointId) -> &[Stored] {
        self.by_id.get(id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn get(&self, id: &CheckpointId, version: FetchVersion) -> Option<Vec<u8>> {
        let mut stored = self.versions(id).iter();
        let found = stored.find(|stored| match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => stored.version < limit,
            FetchVersion::Exactly(wanted) => stored.version == wanted,
        });
        found.map(|stored| stored.bytes.clone())
    }

    /// Whether a record of this id, or one that cannot be read any more, was put aside.
    pub(super) fn has_put_aside(&self, id: &CheckpointId) -> bool {
        self.put_aside.contains(&Some(id.clone())) || self.put_aside.contains(&None)
    }

    pub(super) fn ids_of(&self, prototype: &str) -> Vec<CheckpointId> {
        let is_state =
            |stored: &Vec<Stored>| stored.first().is_some_and(|s| s.kind == RecordKind::State);
        let ids = self.by_id.iter().filter(|(id, s)| id.prototype() == prototype && is_state(s));
        ids.map(|(id, _)| id.clone()).collect()
    }

    /// A save of a record begins: nothing else of its id may be unfinished, nothing newer be
    /// stored.
    pub(super) fn save_begins(&mut self, partition: u32, id: &CheckpointId, record: &[u8]) {
        if is_quarantine(id) {
            return;
        }
        if !self.unfinished.insert(id.clone()) {
            self.trace.violate(format!("4.2: two unfinished saves of {id}"));
        }
        let header = match RecordView::parse(record).map(|view| view.header().clone()) {
            Ok(header) => header,
            Err(error) => return self.trace.violate(format!("a bad record of {id}: {error}")),
        };
        if header.id.to_owned() != *id || header.partition != partition {
            self.trace.violate(format!("P7: the record of {id} is one of {}", header.id));
        }
        let version = header.version;
        let serial = stored(id, record).map_or(0, |stored| stored.serial());
        self.ever_offered.insert((id.clone(), version), serial);
        self.offered_by_process.insert((id.clone(), version));
        let (offers, refused) = self.offers.entry((id.clone(), version)).or_default();
        *offers += 1;
        if *offers > self.offers_max || *refused {
            self.trace.violate(format!("P5: {version} of {id} is tried for the {offers}. time"));
        }
        let known = self.named.entry((partition, version));
        let named = known.or_insert_with(|| (id.clone(), record.to_vec()));
        if (&named.0, &named.1[..]) != (id, record) {
            self.trace.violate(format!("4.1: {version} of partition {partition} names two"));
        }
        if let Some(newest) = self.newest(id)
            && newest.version > version
        {
            let newest = newest.version;
            self.trace.violate(format!("P2: {version} of {id} is to replace {newest}"));
        }
    }

    /// A version was refused for good.
    pub(super) fn refused(&mut self, id: &CheckpointId, version: StateVersion) {
        self.offers.entry((id.clone(), version)).or_default().1 = true;
    }

    pub(super) fn save_ends(&mut self, id: &CheckpointId) {
        self.unfinished.remove(id);
    }

    /// The process has died: nothing that it had begun is awaited any more.
    pub(super) fn crash(&mut self) {
        self.unfinished.clear();
        self.replaced_late.clear();
        self.offers.clear();
    }

    /// What a PE may have been restored from before a save that nobody waited for has landed.
    pub(super) fn replaced_late(&self, id: &CheckpointId) -> Option<u64> {
        self.replaced_late.get(id).copied()
    }

    /// A new process begins with what is on its disk: of each id, the newest version first.
    pub(super) fn begin_with(&mut self, found: BTreeMap<CheckpointId, Vec<Stored>>) {
        for (id, stored) in found.iter().flat_map(|(id, all)| all.iter().map(move |one| (id, one)))
        {
            self.ever_stored.insert((id.clone(), stored.version), stored.serial());
        }
        self.by_id = found;
        self.news.clear();
    }

    /// Stores a record, unless a newer one is there.
    pub(super) fn store(&mut self, id: &CheckpointId, stored: Stored) {
        self.put(id, stored, false);
    }

    /// The same for what nobody waits for any more.
    pub(super) fn land(&mut self, id: &CheckpointId, stored: Stored) {
        self.put(id, stored, true);
    }

    fn put(&mut self, id: &CheckpointId, stored: Stored, is_late: bool) {
        let versions = self.by_id.entry(id.clone()).or_default();
        if versions.first().is_some_and(|newest| newest.version >= stored.version) {
            return;
        }
        if is_late {
            let replaced = versions.first().map_or(0, Stored::serial);
            self.replaced_late.entry(id.clone()).or_insert(replaced);
        } else {
            self.replaced_late.remove(id);
        }
        versions.insert(0, stored.clone());
        let mut is_put_aside = false;
        if is_quarantine(id)
            && let Ok(view) = RecordView::parse(&stored.bytes)
        {
            // What is put aside was read from a storage that may have damaged it on the way.
            let of = RecordView::parse(view.payload()).ok();
            self.put_aside.insert(of.map(|of| of.header().id.to_owned()));
            is_put_aside = stored.kind == RecordKind::State;
        }
        versions.truncate(self.versions_kept);
        self.ever_stored.insert((id.clone(), stored.version), stored.serial());
        self.news.push((id.clone(), stored, is_late));
        if is_late {
            self.landed_late.insert(id.clone());
        }
        // What lands late was not there when somebody counted, also somebody whose save hung then.
        let put_aside = self.ids_of(id.prototype());
        let counted = put_aside.iter().filter(|id| !self.landed_late.contains(*id)).count();
        if is_put_aside && counted > self.quarantined_max {
            self.trace.violate(format!("P5: {id} is one more than may be put aside"));
        }
    }
}

/// Reads a record that is to be stored.
pub(super) fn stored(id: &CheckpointId, bytes: &[u8]) -> Option<Stored> {
    let view = RecordView::parse(bytes).ok()?;
    let (version, kind) = (view.header().version, view.header().kind);
    let content = if is_quarantine(id) || kind == RecordKind::Tombstone {
        None
    } else {
        let mut ledger = Ledger::new(0);
        restore_state(&mut ledger, view.payload(), &StateLimits::default()).ok()?;
        Some(ledger.content())
    };
    Some(Stored { version, kind, bytes: bytes.to_vec(), content })
}

pub(super) fn is_quarantine(id: &CheckpointId) -> bool {
    id.prototype().starts_with('\u{1}')
}

/// The names of the simulated prototypes; their numbers are part of an owner's.
pub(super) const PROTOTYPES: [&str; 2] = ["a", "b"];
const KEYS_MAX: u64 = 1000;

/// One number for a prototype and a key.
pub(super) fn owner_of(prototype: usize, key: u64) -> u64 {
    prototype as u64 * KEYS_MAX + key
}

/// The prototype and the key of an owner.
pub(super) fn place_of(owner: u64) -> (usize, u64) {
    (usize::try_from(owner / KEYS_MAX).unwrap(), owner % KEYS_MAX)
}

pub(super) fn id_of(owner: u64) -> CheckpointId {
    let (prototype, key) = place_of(owner);
    let mut bytes = Vec::new();
    checkpoint::KeyBytes::with_key_bytes(&key, |key| bytes.extend_from_slice(key));
    CheckpointId::new(PROTOTYPES[prototype], bytes).unwrap()
}

/// The owner of an id; `None` for what is in the quarantine.
pub(super) fn owner_of_id(id: &CheckpointId) -> Option<u64> {
    let prototype = PROTOTYPES.iter().position(|name| *name == id.prototype())?;
    Some(owner_of(prototype, u64::from_key_bytes(id.key()).ok()?))
}
