//! A disk in memory: the file operations that the storage does, each of which may be the last.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use checkpoint::{FileHandle, FileOps, SharedSync};

use super::handle::{Handle, Shared};
use super::meeting::Meeting;
use super::node::{Directory, File, Left, Node};
use crate::simulation::dice::Dice;
use crate::simulation::outcome::Telling;
use crate::simulation::trace::{Trace, lock};

const ROOT: usize = 0;

#[derive(Clone)]
pub(in crate::simulation) struct Disk {
    nodes: Vec<Node>,
    /// Only operations of this start of the machine are done.
    pub(super) boot: u64,
    is_on: bool,
    /// So many operations until the power goes.
    left: Option<u64>,
    is_locked: bool,
    /// How many of a hundred operations fail.
    errors_percent: u64,
    /// The operation that fails, counted from the start.
    fails_at: Option<u64>,
    has_shared_sync: bool,
    pub(in crate::simulation) operations: u64,
    pub(in crate::simulation) errors: u64,
    pub(super) dice: Dice,
    trace: Trace,
}

/// One start's way to the disk.
#[derive(Clone)]
pub(in crate::simulation) struct Files {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) boot: u64,
    pub(super) meeting: Arc<Meeting>,
}

/// How the machine is started.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct Boot {
    pub(in crate::simulation) off_after: Option<u64>,
    pub(in crate::simulation) errors_percent: u64,
    pub(in crate::simulation) fails_at: Option<u64>,
    pub(in crate::simulation) has_shared_sync: bool,
}

impl Disk {
    pub(in crate::simulation) fn new(dice: Dice, trace: Trace) -> Arc<Mutex<Self>> {
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

    /// A copy, with other randomness, of which nothing is told.
    pub(in crate::simulation) fn copied(&self, dice: Dice) -> Self {
        Self { dice, trace: Trace::telling(Telling::Nothing), ..self.clone() }
    }

    pub(in crate::simulation) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Ends the process that has the disk; the power stays on. Returns the next one's files.
    pub(in crate::simulation) fn start(this: &Arc<Mutex<Self>>, boot: Boot) -> Files {
        let mut disk = lock(this);
        disk.boot += 1;
        disk.is_on = true;
        disk.is_locked = false;
        disk.befall(boot);
        disk.trace.add(format_args!("start: {boot:?}"));
        Files { disk: this.clone(), boot: disk.boot, meeting: Arc::default() }
    }

    /// Changes what is to go wrong.
    pub(in crate::simulation) fn befall(&mut self, boot: Boot) {
        self.left = boot.off_after;
        self.fails_at = boot.fails_at;
        self.errors_percent = boot.errors_percent;
        self.has_shared_sync = boot.has_shared_sync;
    }

    /// Changes how many of a hundred operations fail; the power goes when it would have.
    pub(in crate::simulation) fn set_errors_percent(&mut self, errors_percent: u64) {
        self.errors_percent = errors_percent;
    }

    /// Ends the process that has the disk; the power stays on.
    pub(in crate::simulation) fn end_process(&mut self) {
        self.boot += 1;
        self.is_locked = false;
    }

    /// The power goes, if it has not yet. Returns whether anything is lost by it.
    pub(in crate::simulation) fn lose_power(&mut self, how: Left) -> bool {
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

    pub(super) fn file(&mut self, at: usize) -> &mut File {
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

    pub(super) fn sync_all(&mut self) {
        for node in &mut self.nodes {
            match node {
                Node::File(file) => file.sync(),
                Node::Directory(directory) => directory.sync(),
            }
        }
    }

    pub(super) fn fail_to_sync_all(&mut self) {
        let mut dice = self.dice.fork();
        for node in &mut self.nodes {
            if let Node::File(file) = node {
                file.fail_to_sync(&mut dice);
            }
        }
    }

    pub(super) fn unlock(&mut self) {
        self.is_locked = false;
    }
}

/// The directory of a path, and its last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// An error is told, whether or not it was done.
    Failed,
    DoneAndFailed,
}

impl Files {
    /// Begins an operation: says whether it fails.
    pub(super) fn begin(&self, what: &str, path: &str) -> io::Result<(MutexGuard<'_, Disk>, Fate)> {
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
    pub(super) fn look<T>(
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

pub(super) fn failure(disk: &mut Disk) -> io::Error {
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

    fn doubtful_kind(&self) -> Option<&'static str> {
        None
    }
}
