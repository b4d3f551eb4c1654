//! Opens a directory as a store, or makes it one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::{Clock, system_clock};
use crate::file_ops::{FileHandle, FileOps, SystemFiles, read_prefix, write_all};
use crate::random::{RandomSource, SystemRandom};
use crate::storage::directory::doubts::{StoreLock, doubts};
use crate::storage::directory::epochs::{EPOCH, Epochs};
use crate::storage::directory::error::{read_error, write_error};
use crate::storage::directory::file_name::is_hex_digit;
use crate::storage::directory::metadata::METADATA;
use crate::storage::directory::own_records::{OwnRecord, OwnRecords};
use crate::storage::directory::store::{IDENTITY, Store, TEMPORARY};
use crate::storage::directory::{OwnDamage, StoreDirectory};
use crate::storage::{Durability, StorageError, StorageErrorKind};
use crate::sync::Mutex;

const LOCK: &str = "lock";
/// The owner's description is padded to this, so that it replaces all of the one before.
const OWNER_BYTES: usize = 256;
const WORLD_WRITABLE: u32 = 0o002;
const GROUP_WRITABLE: u32 = 0o020;

pub(super) const IDENTITY_RECORD: OwnRecord<'_> =
    OwnRecord { path: IDENTITY, id: CheckpointIdRef { prototype: "\u{1}store", key: b"" } };

/// How a storage lays out its states in the directory.
#[derive(Debug)]
pub(in crate::storage) struct Layout {
    /// Written with the identity: no storage opens the store of another.
    pub(in crate::storage) version: u32,
    /// The directories that are there as long as the store is.
    pub(in crate::storage) directories: &'static [&'static str],
    /// The storage's own records that are there as long as the store is, empty at first.
    pub(in crate::storage) records: &'static [OwnRecord<'static>],
    /// Finds something in the directory that has states in it, and names it.
    pub(in crate::storage) states: fn(&Store) -> io::Result<Option<String>>,
}

/// The storages over files, by the version of their layout.
const STORAGES: &[(u32, &str)] = &[(1, "DefaultFileSystemStateStorage"), (2, "LogStorage")];

/// Says how a directory is opened.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Opening {
    pub(in crate::storage) root: PathBuf,
    pub(in crate::storage) must_exist: bool,
    pub(in crate::storage) durability: Durability,
    pub(in crate::storage) clock: Arc<dyn Clock>,
    pub(in crate::storage) random: Arc<dyn RandomSource>,
}

impl Opening {
    pub(in crate::storage) fn new(root: PathBuf) -> Self {
        Self {
            root,
            must_exist: false,
            durability: Durability::Power,
            clock: system_clock(),
            random: Arc::new(SystemRandom::new()),
        }
    }

    /// Opens the system's files below the directory, creating it if it may be missing.
    pub(in crate::storage) fn system_files(&self) -> Result<Arc<dyn FileOps>, StorageError> {
        let open = if self.must_exist { SystemFiles::open } else { SystemFiles::open_or_create };
        let files = open(&self.root).map_err(|err| not_opened(&self.root, self.must_exist, err))?;
        Ok(Arc::new(files))
    }

    /// Takes the lock, finds or makes the identity, and draws an epoch.
    pub(in crate::storage) fn open(
        self,
        files: Arc<dyn FileOps>,
        layout: &Layout,
    ) -> Result<StoreDirectory, StorageError> {
        let root = self.root.as_path();
        let attempt = || format!("open the store at {}", root.display());
        let synced = match self.durability {
            Durability::Power => true,
            Durability::Process => false,
            Durability::None | Durability::Replicated => {
                let attempted = format!("{} with durability {:?}", attempt(), self.durability);
                return Err(StorageError::new(StorageErrorKind::Unsupported, attempted));
            }
        };
        check_mode(&*files, root)?;
        let store = Store::new(files, self.root.clone(), synced);
        let own = OwnRecords { clock: self.clock };
        if self.must_exist {
            // Before anything is created: a directory that is no store stays as it is.
            let found = own.look(&store, IDENTITY, |id| id == IDENTITY_RECORD.id)?;
            found.ok_or_else(|| no_store(root))?;
        }
        let lock = StoreLock::of(take_lock(&store, root)?, &store, LOCK);
        let doubts = doubts(&store, &lock);
        let found = own.read(&store, IDENTITY_RECORD)?;
        let identity = match &found {
            Some(found) => {
                let identity = parse_identity(&found.bytes, layout, root)?;
                sweep(&store)?;
                identity
            }
            None => create(&store, &own, &*self.random, layout, root)?,
        };
        let Some(epoch) = own.read(&store, EPOCH)? else {
            let attempted = format!("{}: its file `epoch` is missing", attempt());
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
        };
        // That writes both copies of it.
        let epochs = Epochs::draw_first(&own, &store, epoch.number)?;
        let mut damaged = Vec::new();
        if let Some(found) = found {
            damaged.extend(OwnDamage::of_copy(IDENTITY, found.copies));
            own.mend(&store, IDENTITY_RECORD, &found);
        }
        damaged.extend(OwnDamage::of_copy(EPOCH.path, epoch.copies));
        Ok(StoreDirectory {
            store,
            own,
            identity,
            damaged,
            doubts,
            epochs: Mutex::new(epochs),
            unsettled_metadata: Mutex::new(BTreeSet::new()),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Finds the identity, and neither takes the lock nor writes anything.
    pub(in crate::storage) fn open_read_only(
        self,
        files: Arc<dyn FileOps>,
        layout: &Layout,
    ) -> Result<StoreDirectory, StorageError> {
        let root = self.root.as_path();
        check_mode(&*files, root)?;
        let store = Store::new(files, self.root.clone(), self.durability == Durability::Power);
        let own = OwnRecords { clock: self.clock };
        let found = own.read(&store, IDENTITY_RECORD)?.ok_or_else(|| no_store(root))?;
        let identity = parse_identity(&found.bytes, layout, root)?;
        let epoch = own.read(&store, EPOCH)?;
        let mut damaged = Vec::from_iter(OwnDamage::of_copy(IDENTITY, found.copies));
        damaged.extend(epoch.as_ref().and_then(|e| OwnDamage::of_copy(EPOCH.path, e.copies)));
        let last = epoch.map_or(0, |epoch| epoch.number);
        Ok(StoreDirectory {
            store,
            own,
            identity,
            damaged,
            doubts: Vec::new(),
            epochs: Mutex::new(Epochs::only_read(last)),
            unsettled_metadata: Mutex::new(BTreeSet::new()),
            lock: Mutex::new(None),
        })
    }

    /// Makes the directories of a store in one that is empty, for a copy.
    pub(in crate::storage) fn prepare_copy(
        files: Arc<dyn FileOps>,
        root: PathBuf,
        layout: &Layout,
    ) -> Result<Store, StorageError> {
        let store = Store::new(files, root, true);
        let attempted = || format!("make a backup at {}", store.shown(""));
        let names = store.files.list("").map_err(|err| read_error(attempted(), err))?;
        if let Some(name) = names.first() {
            let attempted = format!("{}: the directory is not empty ({name:?})", attempted());
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
        }
        for directory in [TEMPORARY, METADATA].iter().chain(layout.directories) {
            let made = store.files.create_directory(directory);
            made.map_err(|err| write_error(attempted(), err))?;
        }
        store.files.sync_directory("").map_err(|err| write_error(attempted(), err))?;
        Ok(store)
    }
}

fn not_opened(root: &Path, must_exist: bool, err: io::Error) -> StorageError {
    let why = match err.kind() {
        io::ErrorKind::NotFound if must_exist => ": there is none",
        io::ErrorKind::NotFound => ": the directory that it is to be made in does not exist",
        io::ErrorKind::NotADirectory => ": something there is no directory",
        _ => "",
    };
    write_error(format!("open the store at {}{why}", root.display()), err)
}

fn no_store(root: &Path) -> StorageError {
    let attempted = format!("open the store at {}: there is none", root.display());
    StorageError::new(StorageErrorKind::InvalidStore, attempted)
}

fn check_mode(files: &dyn FileOps, root: &Path) -> Result<(), StorageError> {
    let attempted = || format!("open the store at {}", root.display());
    let mode = files.mode("").map_err(|err| read_error(attempted(), err))?;
    if mode & WORLD_WRITABLE != 0 {
        let attempted =
            format!("{}: everybody may write to the directory; make one inside of it", attempted());
        return Err(StorageError::new(StorageErrorKind::Forbidden, attempted));
    }
    if mode & GROUP_WRITABLE != 0 {
        tracing::warn!(path = %root.display(), "the group may write to the store's directory");
    }
    Ok(())
}

/// Takes the lock, or says who has it.
fn take_lock(store: &Store, root: &Path) -> Result<Box<dyn FileHandle>, StorageError> {
    let attempted = || format!("lock {}", store.shown(LOCK));
    let locked = store.files.try_lock(LOCK).map_err(|err| write_error(attempted(), err))?;
    let Some(lock) = locked else {
        let attempted = format!("open the store at {} (open in {})", root.display(), owner(store));
        return Err(StorageError::new(StorageErrorKind::Locked, attempted));
    };
    let mut description = format!("process {} on {}", std::process::id(), host()).into_bytes();
    description.resize(OWNER_BYTES - 1, b' ');
    description.push(b'\n');
    write_all(&*lock, &description).map_err(|err| write_error(attempted(), err))?;
    Ok(lock)
}

/// Returns what the owner of the lock wrote about itself.
fn owner(store: &Store) -> String {
    let described = store.files.open_file(LOCK).and_then(|file| read_prefix(&*file, OWNER_BYTES));
    let described = String::from_utf8_lossy(&described.unwrap_or_default()).trim().to_owned();
    if described.is_empty() { "an unknown process".to_owned() } else { described }
}

fn host() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_string_lossy().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Makes a store of a directory. The identity comes last: where it is, everything else is too.
fn create(
    store: &Store,
    own: &OwnRecords,
    random: &dyn RandomSource,
    layout: &Layout,
    root: &Path,
) -> Result<u128, StorageError> {
    let attempted = || format!("create a store at {}", root.display());
    let states = (layout.states)(store).map_err(|err| read_error(attempted(), err))?;
    if let Some(name) = states {
        // With a fresh identity and fresh epochs, what is there would be taken for something else.
        let attempted = format!("{}: it has states ({name}) but no identity", attempted());
        return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
    }
    for directory in [TEMPORARY, METADATA].iter().chain(layout.directories) {
        match store.files.create_directory(directory) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                return Err(write_error(attempted(), err));
            }
            Ok(()) | Err(_) => {}
        }
    }
    // Somebody may have died before he had finished this.
    sweep(store)?;
    // Also if it is there: whoever died may have been told that its name is not durable, and
    // without it a store that has an identity does not open.
    for record in [EPOCH].iter().chain(layout.records) {
        let number = own.read(store, *record)?.map_or(0, |found| found.number);
        own.write_or_fail(store, *record, number, &[])?;
    }
    let identity = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    let mut payload = layout.version.to_le_bytes().to_vec();
    payload.extend_from_slice(&identity.to_be_bytes());
    own.write_or_fail(store, IDENTITY_RECORD, 1, &payload)?;
    tracing::info!(path = %root.display(), store = format!("{identity:032x}"), "created a store");
    Ok(identity)
}

fn parse_identity(payload: &[u8], layout: &Layout, root: &Path) -> Result<u128, StorageError> {
    let attempted = format!("open the store at {}", root.display());
    let Some((version, identity)) = payload.split_first_chunk() else {
        return Err(StorageError::new(StorageErrorKind::Corrupt, attempted));
    };
    let version = u32::from_le_bytes(*version);
    if version != layout.version {
        let of_another = STORAGES.iter().find(|(other, _)| *other == version);
        return Err(match of_another {
            Some((_, storage)) => {
                let attempted = format!("{attempted}: it is to be opened as {storage}");
                StorageError::new(StorageErrorKind::InvalidStore, attempted)
            }
            None => {
                let newest = STORAGES.iter().map(|(known, _)| *known).max().unwrap_or_default();
                let attempted = format!(
                    "{attempted}: its layout is {version}, of {newest} that are known here"
                );
                StorageError::new(StorageErrorKind::UnsupportedVersion, attempted)
            }
        });
    }
    match <[u8; 16]>::try_from(identity) {
        Ok(identity) => Ok(u128::from_be_bytes(identity)),
        Err(_) => Err(StorageError::new(StorageErrorKind::Corrupt, attempted)),
    }
}

/// Removes the temporary files of a process that ended while it wrote them.
fn sweep(store: &Store) -> Result<(), StorageError> {
    let names = store
        .files
        .list(TEMPORARY)
        .map_err(|err| read_error(format!("list {}", store.shown(TEMPORARY)), err))?;
    for name in names.iter().filter(|name| name.bytes().all(is_hex_digit)) {
        let path = format!("{TEMPORARY}/{name}");
        store
            .files
            .remove_file(&path)
            .map_err(|err| write_error(format!("remove {}", store.shown(&path)), err))?;
    }
    Ok(())
}
