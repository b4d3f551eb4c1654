//! File operations, as the library sees them: below one directory, behind a seam.
//!
//! Simulated disks and failing ones take the place of [`SystemFiles`]. Nothing here knows what is
//! stored.

mod file_system_doubt;
mod system_files;

use std::fmt;
use std::io;
use std::path::Path;

pub use file_system_doubt::FileSystemDoubt;
pub use system_files::SystemFiles;

/// Does file operations below one directory, the root.
///
/// Paths are relative to the root: names with `/` between, none of them empty, `.` or `..`. The
/// empty path is the root itself. No operation follows a symbolic link, wherever in the path it is,
/// so that nothing outside the root is ever touched. Files and directories are created for the
/// owner alone (0600 and 0700), whatever the umask.
///
/// A failed [sync](FileHandle::sync_data) is final: the system may have dropped the data and report
/// success the next time.
pub trait FileOps: Send + Sync + fmt::Debug {
    /// Creates a directory.
    ///
    /// # Errors
    /// It exists, or the system refuses.
    fn create_directory(&self, path: &str) -> io::Result<()>;

    /// Returns the names in a directory in any order, without those that are no UTF-8.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Returns the permission bits of a file or directory.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn mode(&self, path: &str) -> io::Result<u32>;

    /// Creates a file to be written.
    ///
    /// # Errors
    /// It exists (be it as a link to nowhere), or the system refuses.
    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>>;

    /// Opens a regular file to be read.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none; or it is no regular file, or the
    /// system refuses.
    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>>;

    /// Renames a file; one of the new name is replaced in the same instant.
    ///
    /// # Errors
    /// The system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file another name, at a path that need not be below the root: a hard link.
    ///
    /// # Errors
    /// The name is taken, it is on another file system, or the system knows no such thing.
    fn link_out(&self, path: &str, to: &Path) -> io::Result<()>;

    /// Removes a file (or a link, never what it points to).
    ///
    /// # Errors
    /// The system refuses.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Makes durable which names a directory has.
    ///
    /// # Errors
    /// The names may or may not be durable.
    fn sync_directory(&self, path: &str) -> io::Result<()>;

    /// Prepares to make everything durable at once that is written from now on.
    ///
    /// `None` where the system has no such call, or one that does not tell errors.
    ///
    /// # Errors
    /// The system refuses.
    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>>;

    /// Opens (or creates) a file to be written and locks it for this handle alone.
    ///
    /// The lock ends with the handle or with the process, whatever ends that; a program that this
    /// one executes does not inherit it. `None` if another handle, in whichever process, has the
    /// lock.
    ///
    /// # Errors
    /// The system refuses.
    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>>;

    /// Returns the name of the kind of file system that the root is on, if it is known to promise
    /// less than a local disk: see [`FileSystemDoubt::Kind`]. `None` also if it cannot be told.
    fn doubtful_kind(&self) -> Option<&'static str>;
}

/// A file that is open. It has one writer at a time; any thread may read and sync meanwhile.
pub trait FileHandle: Send + Sync + fmt::Debug {
    /// Writes some of `bytes` at the current position and returns how many.
    ///
    /// # Errors
    /// Nothing was written.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads some bytes from `offset` on into `buffer` and returns how many; 0 at the end of the
    /// file.
    ///
    /// # Errors
    /// Nothing was read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same if it needs no waiting for the disk; `None` if it does, or if that cannot be told.
    ///
    /// # Errors
    /// Nothing was read.
    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>>;

    /// Says that these bytes will be read soon, so that the system may read them already. Does not
    /// wait for that, and may do nothing.
    fn prefetch(&self, offset: u64, bytes: u64);

    /// Returns how many bytes the file has.
    ///
    /// # Errors
    /// The file cannot be looked at.
    fn file_bytes(&self) -> io::Result<u64>;

    /// Makes durable what was written to the file before; of what is written meanwhile, nothing is
    /// promised.
    ///
    /// # Errors
    /// It may not be durable and never will be: the file is to be thrown away, not synced again.
    fn sync_data(&self) -> io::Result<()>;
}

/// Makes durable whatever was written to a file system since this was begun.
pub trait SharedSync: Send + fmt::Debug {
    /// Makes durable everything that was written, created and renamed until now.
    ///
    /// # Errors
    /// Some of it may not be durable and never will be.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes all of `bytes`, however few the system takes at a time.
pub(crate) fn write_all(file: &dyn FileHandle, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Reads from the start of a file until its end or until there are `bytes_max`.
pub(crate) fn read_prefix(file: &dyn FileHandle, bytes_max: usize) -> io::Result<Vec<u8>> {
    // A file that shrinks or grows meanwhile is read as far as it is there.
    let file_bytes = usize::try_from(file.file_bytes()?).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(file_bytes.min(bytes_max)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(file_bytes.min(bytes_max), 0);
    let mut filled = 0;
    while let Some(free) = bytes.get_mut(filled..)
        && !free.is_empty()
    {
        match file.read_at(free, filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
