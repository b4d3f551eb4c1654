//! A directory in memory, whose names and contents may be anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checkpoint::{FileHandle, FileOps, SharedSync};

/// Files by path. A clone is the same directory.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    directories: BTreeSet<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryFiles {
    /// Puts a file there, and the directories that it is in.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut content = self.lock();
        for (end, _) in path.match_indices('/') {
            content.directories.insert(path.get(..end).unwrap_or_default().to_owned());
        }
        content.files.insert(path.to_owned(), bytes.to_vec());
    }

    /// Returns what a file holds.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.lock().files.get(path).cloned()
    }

    /// Returns the paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, path: &str) -> Box<dyn FileHandle> {
        Box::new(MemoryFile { files: self.clone(), path: path.to_owned() })
    }
}

impl FileOps for MemoryFiles {
    fn create_directory(&self, path: &str) -> io::Result<()> {
        match self.lock().directories.insert(path.to_owned()) {
            true => Ok(()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let content = self.lock();
        if !directory.is_empty() && !content.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = |path: &String| {
            let name = match directory {
                "" => path,
                _ => path.strip_prefix(directory)?.strip_prefix('/')?,
            };
            (!name.contains('/')).then(|| name.to_owned())
        };
        Ok(content.files.keys().chain(&content.directories).filter_map(below).collect())
    }

    fn mode(&self, _path: &str) -> io::Result<u32> {
        Ok(0o700)
    }

    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        if self.get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.lock().files.insert(path.to_owned(), Vec::new());
        Ok(self.handle(path))
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        match self.lock().files.contains_key(path) {
            true => Ok(self.handle(path)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut content = self.lock();
        let bytes = content.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn link_out(&self, _path: &str, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.lock().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>> {
        Ok(None)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>> {
        self.put(path, b"");
        Ok(Some(self.handle(path)))
    }

    fn doubtful_kind(&self) -> Option<&'static str> {
        None
    }
}

#[derive(Debug)]
struct MemoryFile {
    files: MemoryFiles,
    path: String,
}

impl FileHandle for MemoryFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.files.lock();
        let file = content.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        file.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.files.lock();
        let file = content.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = file.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_at(buffer, offset).map(Some)
    }

    fn prefetch(&self, _offset: u64, _bytes: u64) {}

    fn file_bytes(&self) -> io::Result<u64> {
        let content = self.files.lock();
        let file = content.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
