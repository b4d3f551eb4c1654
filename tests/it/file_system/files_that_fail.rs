//! File operations that are written down, and fail when told to.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use checkpoint::{FileHandle, FileOps, SharedSync, SystemFiles};
use rustix::io::Errno;

/// Forwards to the system's files, save for syncs, which only slow a test down.
#[derive(Debug, Clone)]
pub(crate) struct FilesThatFail {
    files: Arc<SystemFiles>,
    script: Arc<Script>,
}

/// What was done and what is to fail, shared with the handles.
#[derive(Debug, Default)]
pub(crate) struct Script {
    state: Mutex<State>,
}

/// Something to be done before an operation.
struct Before {
    operation: String,
    /// After so many more that begin like it.
    after: usize,
    act: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Before").field("operation", &self.operation).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    log: Vec<String>,
    // The number of the operation that fails, and how.
    fail_at: Option<(usize, Errno)>,
    // From this operation on all fail, as if the process had been killed.
    dead_from: Option<usize>,
    // Operations whose line begins like this fail.
    fail_all: Option<(String, Errno)>,
    before: Option<Before>,
    short_writes: bool,
    // What is locked is locked once more, as if nobody had it.
    locks_twice: bool,
    doubtful_kind: Option<&'static str>,
    // The number of the write that takes only half of what it is given.
    short_at: Option<usize>,
    writes: u64,
}

impl Script {
    /// Notes something that is no file operation.
    pub(crate) fn note(&self, line: &str) {
        self.state.lock().unwrap().log.push(line.to_owned());
    }

    /// Forgets what was done, and lets the `at`-th operation from now on fail.
    pub(crate) fn fail_at(&self, at: usize, with: Errno) {
        let mut state = self.state.lock().unwrap();
        state.log.clear();
        state.fail_at = Some((at, with));
    }

    /// The same, if that is a write, of its second half: the first one is written.
    pub(crate) fn fail_in_the_middle_of(&self, at: usize, with: Errno) {
        self.fail_at(at + 1, with);
        self.state.lock().unwrap().short_at = Some(at);
    }

    /// Forgets what was done, and lets all operations fail from the `at`-th from now on.
    ///
    /// Nothing can be cleaned up any more: the directory stays as a killed process leaves it.
    pub(crate) fn die_at(&self, at: usize) {
        let mut state = self.state.lock().unwrap();
        state.log.clear();
        state.dead_from = Some(at);
    }

    /// Lets each operation fail whose line begins like this, until [`Self::heal`].
    pub(crate) fn fail_all(&self, operation: &str, with: Errno) {
        self.state.lock().unwrap().fail_all = Some((operation.to_owned(), with));
    }

    /// Has something done once before an operation whose line begins like this, when there were so
    /// many of them.
    pub(crate) fn before(
        &self,
        operation: &str,
        after: usize,
        act: impl FnOnce() + Send + 'static,
    ) {
        let (operation, act) = (operation.to_owned(), Box::new(act));
        self.state.lock().unwrap().before = Some(Before { operation, after, act });
    }

    /// Returns what is to be done before this operation, if anything is.
    fn due(&self, line: &str) -> Option<Before> {
        let mut state = self.state.lock().unwrap();
        let before = state.before.as_mut().filter(|due| line.starts_with(&due.operation))?;
        if before.after == 0 {
            return state.before.take();
        }
        before.after -= 1;
        None
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.fail_at = None;
        state.fail_all = None;
    }

    /// Takes what was done since the last time.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// Returns how much of a write the next operation takes.
    fn taken(&self, bytes: usize) -> usize {
        let state = self.state.lock().unwrap();
        match state.short_writes {
            true => bytes.min(7),
            false if state.short_at == Some(state.log.len()) => bytes.div_ceil(2),
            false => bytes,
        }
    }

    fn step(&self, line: String) -> io::Result<()> {
        // Not under the lock: it may do file operations itself.
        if let Some(due) = self.due(&line) {
            (due.act)();
        }
        let mut state = self.state.lock().unwrap();
        let number = state.log.len();
        let failed = match (&state.fail_at, &state.fail_all) {
            _ if state.dead_from.is_some_and(|from| number >= from) => Some(Errno::IO),
            (Some((at, with)), _) if *at == number => Some(*with),
            (_, Some((operation, with))) if line.starts_with(operation) => Some(*with),
            _ => None,
        };
        state.log.push(match failed {
            Some(errno) => format!("{line}: {errno:?}"),
            None => line,
        });
        failed.map_or(Ok(()), |errno| Err(errno.into()))
    }
}

impl FilesThatFail {
    pub(crate) fn new(root: &Path) -> Self {
        let files = Arc::new(SystemFiles::open_or_create(root).unwrap());
        Self { files, script: Arc::default() }
    }

    pub(crate) fn with_short_writes(self) -> Self {
        self.script.state.lock().unwrap().short_writes = true;
        self
    }

    pub(crate) fn locking_twice(self) -> Self {
        self.script.state.lock().unwrap().locks_twice = true;
        self
    }

    pub(crate) fn of_kind(self, kind: &'static str) -> Self {
        self.script.state.lock().unwrap().doubtful_kind = Some(kind);
        self
    }

    pub(crate) fn script(&self) -> Arc<Script> {
        Arc::clone(&self.script)
    }

    fn handle(&self, path: &str, inner: Box<dyn FileHandle>) -> Box<dyn FileHandle> {
        let script = self.script();
        Box::new(Handle { path: path.to_owned(), inner, script })
    }
}

impl FileOps for FilesThatFail {
    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.script.step(format!("create_directory {path}"))?;
        self.files.create_directory(path)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.script.step(format!("list {directory}"))?;
        self.files.list(directory)
    }

    fn mode(&self, path: &str) -> io::Result<u32> {
        self.script.step(format!("mode {path}"))?;
        self.files.mode(path)
    }

    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        self.script.step(format!("create_file {path}"))?;
        Ok(self.handle(path, self.files.create_file(path)?))
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        self.script.step(format!("open_file {path}"))?;
        Ok(self.handle(path, self.files.open_file(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.script.step(format!("rename {from} {to}"))?;
        self.files.rename(from, to)
    }

    fn link_out(&self, path: &str, to: &Path) -> io::Result<()> {
        self.script.step(format!("link_out {path}"))?;
        self.files.link_out(path, to)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.script.step(format!("remove_file {path}"))?;
        self.files.remove_file(path)
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        self.script.step(format!("sync_directory {path}"))
    }

    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>> {
        self.script.step("begin_shared_sync".to_owned())?;
        Ok(Some(Box::new(Shared(self.script()))))
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>> {
        self.script.step(format!("try_lock {path}"))?;
        let locked = match self.files.try_lock(path)? {
            None if self.script.state.lock().unwrap().locks_twice => self.files.open_file(path)?,
            None => return Ok(None),
            Some(locked) => locked,
        };
        Ok(Some(self.handle(path, locked)))
    }

    fn doubtful_kind(&self) -> Option<&'static str> {
        self.script.state.lock().unwrap().doubtful_kind.or(self.files.doubtful_kind())
    }
}

#[derive(Debug)]
struct Handle {
    path: String,
    inner: Box<dyn FileHandle>,
    script: Arc<Script>,
}

impl FileHandle for Handle {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (short, number) = {
            let mut state = self.script.state.lock().unwrap();
            state.writes += 1;
            (state.short_writes, state.writes)
        };
        if short && number.is_multiple_of(3) {
            return Err(Errno::INTR.into());
        }
        let taken = self.script.taken(bytes.len());
        self.script.step(format!("write {}", self.path))?;
        self.inner.write(&bytes[..taken])
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.script.step(format!("read_at {}", self.path))?;
        self.inner.read_at(buffer, offset)
    }

    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.script.step(format!("read_at_now {}", self.path))?;
        self.inner.read_at_now(buffer, offset)
    }

    fn prefetch(&self, offset: u64, bytes: u64) {
        self.inner.prefetch(offset, bytes);
    }

    fn file_bytes(&self) -> io::Result<u64> {
        self.script.step(format!("file_bytes {}", self.path))?;
        self.inner.file_bytes()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.script.step(format!("sync_data {}", self.path))
    }
}

#[derive(Debug)]
struct Shared(Arc<Script>);

impl SharedSync for Shared {
    fn sync(&mut self) -> io::Result<()> {
        self.0.step("shared_sync".to_owned())
    }
}
