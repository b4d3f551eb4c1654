//! Open files of the disk in memory.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use checkpoint::{FileHandle, SharedSync};

use super::disk::{Fate, Files, failure};
use crate::simulation::trace::lock;

/// A file that is open.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) files: Files,
    pub(super) node: usize,
    pub(super) at: AtomicUsize,
    pub(super) path: String,
    pub(super) has_lock: bool,
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
            disk.unlock();
        }
    }
}

/// A sync of everything.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Files);

impl SharedSync for Shared {
    fn sync(&mut self) -> io::Result<()> {
        let (mut disk, fate) = self.0.begin("shared_sync", "")?;
        if fate == Fate::Done {
            disk.sync_all();
            return Ok(());
        }
        disk.fail_to_sync_all();
        Err(failure(&mut disk))
    }
}
