//! A disk in memory: the file operations that the storage does, each of which may be the last.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use checkpoint::{FileHandle, FileOps, SharedSync};

use super::meeting::Meeting;
use super::node::{Directory, File, Left, Node};
use crate::simulation::dice::Dice;
use crate::simulation::trace::{Trace, lock};

const ROOT: usize = 0;

#[derive(Clone)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    /// Only operations of this start of the machine are done.
    boot: u64,
    is_on: bool,
    /// So many operations until the power goes.
    left: Option<u64>,
    is_locked: bool,
    /// How many of a hundred operations fail.
    errors_percent: u64,
    /// The operation that fails, counted from the start.
    fails_at: Option<u64>,
    has_shared_sync: bool,
    pub(super) operations: u64,
    pub(super) errors: u64,
    dice: Dice,
    trace: Trace,
}

/// One start's way to the disk.
#[derive(Clone)]
pub(super) struct Files {
    disk: Arc<Mutex<Disk>>,
    boot: u64,
    pub(super) meeting: Arc<Meeting>,
}

/// How the machine is started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boot {
    pub(super) off_after: Option<u64>,
    pub(super) errors_percent: u64,
    pub(super) fails_at: Option<u64>,
    pub(super) has_shared_sync: bool,
}

impl Disk {
    pub(super) fn new(dice: Dice, trace: Trace) -> Arc<Mutex<Self>> {
        let mut root = Directory::default();
        root.sync();
        Arc::new(Mutex::new(Self {
            nodes: vec![Node::Directory(root)],
            boot: 0,
            is_on: false,
            left: None,
            is_locked: false,
            errors_percent: 0,
            fails_at: None,
            has_shared_sync: false,
            operations: 0,
            errors: 0,
            dice,
            trace,
        }))
    }

    /// A copy, with other randomness.
    pub(super) fn copied(&self, dice: Dice) -> Self {
        Self { dice, ..self.clone() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Ends the process that has the disk; the power stays on. Returns the next one's files.
    pub(super) fn start(this: &Arc<Mutex<Self>>, boot: Boot) -> Files {
        let mut disk = lock(this);
        disk.boot += 1;
        disk.is_on = true;
        disk.is_locked = false;
        disk.befall(boot);
        disk.trace.add(format_args!("start: {boot:?}"));
        Files { disk: this.clone(), boot: disk.boot, meeting: Arc::default() }
    }

    /// Changes what is to go wrong.
    pub(super) fn befall(&mut self, boot: Boot) {
        self.left = boot.off_after;
        self.fails_at = boot.fails_at;
        self.errors_percent = boot.errors_percent;
        self.has_shared_sync = boot.has_shared_sync;
    }

    /// Ends the process that has the disk; the power stays on.
    pub(super) fn end_process(&mut self) {
        self.boot += 1;
        self.is_locked = false;
    }

    /// The power goes, if it has not yet. Returns whether anything is lost by it.
    pub(super) fn lose_power(&mut self, how: Left) -> bool {
        self.is_on = false;
        self.is_locked = false;
        let mut has_lost = false;
        for node in &mut self.nodes {
            has_lost |= match node {
                Node::File(file) => file.lose_power(how, &mut self.dice),
                Node::Directory(directory) => directory.lose_power(how, &mut self.dice),
            };
        }
        self.trace.add(format_args!("the power goes; something is lost: {has_lost}"));
        has_lost
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Node::Directory(directory) = &self.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *directory.now.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn directory(&mut self, path: &str) -> io::Result<&mut Directory> {
        let at = self.find(path)?;
        match &mut self.nodes[at] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, at: usize) -> &mut File {
        match &mut self.nodes[at] {
            Node::File(file) => file,
            Node::Directory(_) => unreachable!("only files have handles"),
        }
    }

    fn add(&mut self, path: &str, node: Node) -> io::Result<usize> {
        let (parent, name) = split(path);
        let number = self.nodes.len();
        let directory = self.directory(parent)?;
        if directory.now.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.set(name, Some(number));
        self.nodes.push(node);
        Ok(number)
    }

    fn move_name(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = self.find(from)?;
        let ((from, from_name), (to, to_name)) = (split(from), split(to));
        if from == to {
            self.directory(to)?.rename_inside(from_name, to_name, node);
            return Ok(());
        }
        self.directory(to)?.set(to_name, Some(node));
        self.directory(from)?.set(from_name, None);
        Ok(())
    }

    /// What is in each file that has a name, by path.
    pub(super) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut contents = BTreeMap::new();
        let mut pending = vec![(String::new(), ROOT)];
        while let Some((path, at)) = pending.pop() {
            match &self.nodes[at] {
                Node::File(file) => drop(contents.insert(path, file.now.clone())),
                Node::Directory(directory) => {
                    for (name, node) in &directory.now {
                        let below =
                            if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                        pending.push((below, *node));
                    }
                }
            }
        }
        contents
    }

    /// Changes the bytes of a file behind everybody's back, durably.
    pub(super) fn damage(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let at = self.find(path).unwrap();
        let file = self.file(at);
        change(&mut file.now);
        file.sync();
    }

    fn sync_all(&mut self) {
        for node in &mut self.nodes {
            match node {
                Node::File(file) => file.sync(),
                Node::Directory(directory) => directory.sync(),
            }
        }
    }
}

/// The directory of a path, and its last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// An error is told, whether or not it was done.
    Failed,
    DoneAndFailed,
}

impl Files {
    /// Begins an operation: says whether it fails.
    fn begin(&self, what: &str, path: &str) -> io::Result<(MutexGuard<'_, Disk>, Fate)> {
        self.meeting.pass();
        let mut disk = lock(&self.disk);
        if !disk.is_on || disk.boot != self.boot {
            return Err(io::Error::other("the machine is off"));
        }
        disk.operations += 1;
        let fate = if disk.left == Some(0) {
            disk.is_on = false;
            if disk.dice.chance(50) { Fate::Failed } else { Fate::DoneAndFailed }
        } else if disk.fails_at == Some(0) {
            disk.errors += 1;
            if disk.dice.chance(50) { Fate::Failed } else { Fate::DoneAndFailed }
        } else if disk.errors_percent > 0 && {
            let percent = disk.errors_percent;
            disk.dice.chance(percent)
        } {
            disk.errors += 1;
            if disk.dice.chance(70) { Fate::Failed } else { Fate::DoneAndFailed }
        } else {
            Fate::Done
        };
        disk.left = disk.left.map(|left| left.saturating_sub(1));
        disk.fails_at = disk.fails_at.and_then(|at| at.checked_sub(1));
        let (told, is_on) = (if fate == Fate::Done { "" } else { " fails" }, disk.is_on);
        let off = if is_on { "" } else { ": the last" };
        disk.trace.add(format_args!("  {what} {path}{told}{off}"));
        Ok((disk, fate))
    }

    /// Does an operation that changes names.
    fn change(
        &self,
        what: &str,
        path: &str,
        work: impl FnOnce(&mut Disk) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (mut disk, fate) = self.begin(what, path)?;
        match fate {
            Fate::Done => work(&mut disk),
            Fate::DoneAndFailed => work(&mut disk).and_then(|_| Err(failure(&mut disk))),
            Fate::Failed => Err(failure(&mut disk)),
        }
    }

    /// Does one that only looks.
    fn look<T>(
        &self,
        what: &str,
        path: &str,
        work: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut disk, fate) = self.begin(what, path)?;
        if fate == Fate::Done { work(&mut disk) } else { Err(failure(&mut disk)) }
    }

    fn handle(&self, node: usize, path: &str) -> Box<dyn FileHandle> {
        let (files, path) = (self.clone(), path.to_owned());
        Box::new(Handle { files, node, at: AtomicUsize::new(0), path, has_lock: false })
    }
}

fn failure(disk: &mut Disk) -> io::Error {
    let kinds = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::Other,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
    ];
    io::Error::new(disk.dice.pick(&kinds), "as planned")
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files(boot {})", self.boot)
    }
}

impl FileOps for Files {
    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.change("create_directory", path, |disk| {
            disk.add(path, Node::Directory(Directory::default()))
        })?;
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.look("list", directory, |disk| {
            Ok(disk.directory(directory)?.now.keys().cloned().collect())
        })
    }

    fn mode(&self, path: &str) -> io::Result<u32> {
        self.look("mode", path, |disk| disk.find(path).map(|_| 0o700))
    }

    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        let node =
            self.change("create_file", path, |disk| disk.add(path, Node::File(File::new())))?;
        Ok(self.handle(node, path))
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        let node = self.look("open_file", path, |disk| disk.find(path))?;
        Ok(self.handle(node, path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let paths = format!("{from} {to}");
        self.change("rename", &paths, |disk| disk.move_name(from, to).map(|()| 0))?;
        Ok(())
    }

    fn link_out(&self, _path: &str, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.change("remove_file", path, |disk| {
            let node = disk.find(path)?;
            let (parent, name) = split(path);
            disk.directory(parent)?.set(name, None);
            Ok(node)
        })?;
        Ok(())
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        // One that fails may be done again: what it did or not, a loss of power decides.
        self.look("sync_directory", path, |disk| {
            disk.directory(path)?.sync();
            Ok(())
        })
    }

    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>> {
        self.look("begin_shared_sync", "", |disk| {
            let shared = Shared(self.clone());
            Ok(disk.has_shared_sync.then(|| Box::new(shared) as Box<dyn SharedSync>))
        })
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>> {
        let node = self.look("try_lock", path, |disk| {
            if disk.is_locked {
                return Ok(None);
            }
            let found = match disk.find(path) {
                Err(_) => disk.add(path, Node::File(File::new()))?,
                Ok(node) => node,
            };
            disk.is_locked = true;
            Ok(Some(found))
        })?;
        let (files, path) = (self.clone(), path.to_owned());
        let handle = |node| Handle { files, node, at: AtomicUsize::new(0), path, has_lock: true };
        Ok(node.map(|node| Box::new(handle(node)) as Box<dyn FileHandle>))
    }
}

#[derive(Debug)]
struct Handle {
    files: Files,
    node: usize,
    at: AtomicUsize,
    path: String,
    has_lock: bool,
}

impl FileHandle for Handle {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (mut disk, fate) = self.files.begin("write", &self.path)?;
        // As many as it likes, at a time.
        let some = match disk.dice.chance(30) {
            true => 1 + disk.dice.index(bytes.len().max(1)),
            false => bytes.len(),
        };
        let some = some.min(bytes.len());
        if fate != Fate::Failed {
            disk.file(self.node).write(self.at.load(Ordering::Relaxed), &bytes[..some]);
        }
        if fate != Fate::Done {
            return Err(failure(&mut disk));
        }
        self.at.fetch_add(some, Ordering::Relaxed);
        Ok(some)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (node, at) = (self.node, usize::try_from(offset).unwrap_or(usize::MAX));
        self.files.look("read_at", &self.path, |disk| {
            let bytes = disk.file(node).now.get(at..).unwrap_or_default();
            let some = bytes.len().min(buffer.len());
            buffer[..some].copy_from_slice(&bytes[..some]);
            Ok(some)
        })
    }

    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_at(buffer, offset).map(Some)
    }

    fn prefetch(&self, _offset: u64, _bytes: u64) {}

    fn file_bytes(&self) -> io::Result<u64> {
        let node = self.node;
        self.files.look("file_bytes", &self.path, |disk| Ok(disk.file(node).now.len() as u64))
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is written meanwhile is not synced with it.
        let writes = lock(&self.files.disk).file(self.node).writes();
        if self.path.starts_with("segments/") {
            self.files.meeting.syncs();
        }
        let (mut disk, fate) = self.files.begin("sync_data", &self.path)?;
        if fate == Fate::Done {
            disk.file(self.node).sync_first(writes);
            return Ok(());
        }
        let mut dice = disk.dice.fork();
        disk.file(self.node).fail_to_sync(&mut dice);
        Err(failure(&mut disk))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut disk = lock(&self.files.disk);
        if self.has_lock && disk.boot == self.files.boot {
            disk.is_locked = false;
        }
    }
}

#[derive(Debug)]
struct Shared(Files);

impl SharedSync for Shared {
    fn sync(&mut self) -> io::Result<()> {
        let (mut disk, fate) = self.0.begin("shared_sync", "")?;
        if fate == Fate::Done {
            disk.sync_all();
            return Ok(());
        }
        let mut dice = disk.dice.fork();
        for node in &mut disk.nodes {
            if let Node::File(file) = node {
                file.fail_to_sync(&mut dice);
            }
        }
        Err(failure(&mut disk))
    }
}
