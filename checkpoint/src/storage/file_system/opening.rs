//! Opens a store, or creates one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint_id::CheckpointIdRef;
use crate::clock::{Clock, system_clock};
use crate::file_ops::{FileHandle, FileOps, SystemFiles, read_prefix, write_all};
use crate::random::{RandomSource, SystemRandom};
use crate::storage::file_system::DefaultFileSystemStateStorage;
use crate::storage::file_system::epochs::{EPOCH, Epochs};
use crate::storage::file_system::error::{read_error, write_error};
use crate::storage::file_system::metadata::METADATA;
use crate::storage::file_system::names::{is_file_name, is_hex_digit};
use crate::storage::file_system::own_records::{OwnRecord, OwnRecords};
use crate::storage::file_system::store::{IDENTITY, Store, TEMPORARY};
use crate::storage::{Durability, StorageError, StorageErrorKind};
use crate::sync::Mutex;

const LOCK: &str = "lock";
/// The owner's description is padded to this, so that it replaces all of the one before.
const OWNER_BYTES: usize = 256;
const LAYOUT_VERSION: u32 = 1;
const RECORD_BYTES_MAX: u64 = 1 << 30;
const SHARED_SYNC_ENTRIES_MIN: usize = 8;
const WORLD_WRITABLE: u32 = 0o002;
const GROUP_WRITABLE: u32 = 0o020;

const IDENTITY_RECORD: OwnRecord<'_> =
    OwnRecord { path: IDENTITY, id: CheckpointIdRef { prototype: "\u{1}store", key: b"" } };

/// Says how a [`DefaultFileSystemStateStorage`] is opened.
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `open`"]
pub struct DefaultFileSystemStateStorageBuilder {
    root: PathBuf,
    must_exist: bool,
    durability: Durability,
    record_bytes_max: u64,
    shared_sync_entries_min: usize,
    log_keys: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
}

impl DefaultFileSystemStateStorageBuilder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            must_exist: false,
            durability: Durability::Power,
            record_bytes_max: RECORD_BYTES_MAX,
            shared_sync_entries_min: SHARED_SYNC_ENTRIES_MIN,
            log_keys: false,
            clock: system_clock(),
            random: Arc::new(SystemRandom::new()),
        }
    }

    /// Refuses a directory that is no store yet, instead of creating one; the default is `false`.
    ///
    /// A program that has stored something before should set it: a wrong path or a disk that is not
    /// mounted is then an error instead of an empty beginning.
    pub fn must_exist(self, must_exist: bool) -> Self {
        Self { must_exist, ..self }
    }

    /// Sets what an acknowledged save survives: [`Durability::Power`], the default, or
    /// [`Durability::Process`], which never waits for the disk.
    ///
    /// The others are refused when the store is opened.
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Sets the size of the largest record in bytes; the default is 1 GiB.
    ///
    /// Larger ones are neither saved nor read.
    pub fn record_bytes_max(self, record_bytes_max: u64) -> Self {
        Self { record_bytes_max, ..self }
    }

    /// Sets from how many entries on a batch is made durable by one sync of the whole file system,
    /// where there is a reliable one (Linux 5.8, ext4, XFS, btrfs); the default is 8.
    ///
    /// Smaller batches sync each file. One sync of the file system is several times faster for a
    /// batch, but also waits for what other programs have written to it: on a disk that is shared
    /// with a heavy writer set it to `usize::MAX`.
    pub fn shared_sync_entries_min(self, shared_sync_entries_min: usize) -> Self {
        Self { shared_sync_entries_min, ..self }
    }

    /// Sets whether the log names the ids of damaged states that are replaced, besides the hashes
    /// of their keys; the default is `false`, because keys may be private.
    pub fn log_keys(self, log_keys: bool) -> Self {
        Self { log_keys, ..self }
    }

    /// Sets the clock; the default is the system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the source of the store's random identity; the default is the system's.
    pub fn random(self, random: Arc<dyn RandomSource>) -> Self {
        Self { random, ..self }
    }

    /// Opens the store, creating it if there is none.
    ///
    /// # Errors
    /// [`Locked`](StorageErrorKind::Locked) if it is open already, here or in another process;
    /// [`Forbidden`](StorageErrorKind::Forbidden) if everybody may write to the directory or this
    /// process may not; [`InvalidStore`](StorageErrorKind::InvalidStore) if there is none and there
    /// must be one, if parts of it are missing, or if the path is a symbolic link;
    /// [`UnsupportedVersion`](StorageErrorKind::UnsupportedVersion) if a newer library wrote it.
    pub fn open(self) -> Result<DefaultFileSystemStateStorage, StorageError> {
        let open = if self.must_exist { SystemFiles::open } else { SystemFiles::open_or_create };
        let files = open(&self.root).map_err(|err| not_opened(&self.root, self.must_exist, err))?;
        self.open_over(Arc::new(files))
    }

    /// The same over these file operations instead of the system's, for simulated or failing disks.
    ///
    /// The path is only used in messages.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_over(
        self,
        files: Arc<dyn FileOps>,
    ) -> Result<DefaultFileSystemStateStorage, StorageError> {
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
            own.read(&store, IDENTITY_RECORD)?.ok_or_else(|| no_store(root))?;
        }
        let lock = take_lock(&store, root)?;
        let identity = match own.read(&store, IDENTITY_RECORD)? {
            Some(identity) => {
                let identity = parse_identity(&identity.bytes, root)?;
                sweep(&store)?;
                identity
            }
            None => create(&store, &own, &*self.random, root)?,
        };
        let Some(epoch) = own.read(&store, EPOCH)? else {
            let attempted = format!("{}: its file `epoch` is missing", attempt());
            return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
        };
        let epochs = Epochs::draw_first(&own, &store, epoch.number)?;
        Ok(DefaultFileSystemStateStorage {
            store,
            own,
            identity,
            durability: self.durability,
            record_bytes_max: self.record_bytes_max,
            shared_sync_entries_min: self.shared_sync_entries_min,
            log_keys: self.log_keys,
            epochs: Mutex::new(epochs),
            prototypes: Mutex::new(BTreeMap::new()),
            unsettled_metadata: Mutex::new(BTreeSet::new()),
            _lock: Mutex::new(lock),
        })
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
    let Some(mut lock) = locked else {
        let attempted = format!("open the store at {} (open in {})", root.display(), owner(store));
        return Err(StorageError::new(StorageErrorKind::Locked, attempted));
    };
    let mut description = format!("process {} on {}", std::process::id(), host()).into_bytes();
    description.resize(OWNER_BYTES - 1, b' ');
    description.push(b'\n');
    write_all(&mut *lock, &description).map_err(|err| write_error(attempted(), err))?;
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
    root: &Path,
) -> Result<u128, StorageError> {
    let attempted = || format!("create a store at {}", root.display());
    let names = store.files.list("").map_err(|err| read_error(attempted(), err))?;
    if let Some(name) = names.iter().find(|name| is_file_name(name)) {
        // With a fresh identity and fresh epochs, what is there would be taken for something else.
        let attempted = format!("{}: it has states ({name}) but no identity", attempted());
        return Err(StorageError::new(StorageErrorKind::InvalidStore, attempted));
    }
    for directory in [TEMPORARY, METADATA] {
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
    let epoch = own.read(store, EPOCH)?.map_or(0, |epoch| epoch.number);
    own.write_or_fail(store, EPOCH, epoch, &[])?;
    let identity = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    let mut payload = LAYOUT_VERSION.to_le_bytes().to_vec();
    payload.extend_from_slice(&identity.to_be_bytes());
    own.write_or_fail(store, IDENTITY_RECORD, 1, &payload)?;
    tracing::info!(path = %root.display(), store = format!("{identity:032x}"), "created a store");
    Ok(identity)
}

fn parse_identity(payload: &[u8], root: &Path) -> Result<u128, StorageError> {
    let attempted = format!("open the store at {}", root.display());
    let Some((version, identity)) = payload.split_first_chunk() else {
        return Err(StorageError::new(StorageErrorKind::Corrupt, attempted));
    };
    if u32::from_le_bytes(*version) != LAYOUT_VERSION {
        return Err(StorageError::new(StorageErrorKind::UnsupportedVersion, attempted));
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
