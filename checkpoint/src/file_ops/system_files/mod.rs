//! The operating system's files, below an open directory.

mod doubtful_kind;
mod shared_sync;

use std::io;
#[cfg(not(target_vendor = "apple"))]
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

#[cfg(not(target_vendor = "apple"))]
use rustix::fs::Advice;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::io::ReadWriteFlags;

use crate::file_ops::{FileHandle, FileOps, SharedSync};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The files below a directory of the operating system.
///
/// The directory is held open: moving it does not matter, and once it is deleted every operation
/// fails, also if another one of the same name has taken its place.
#[derive(Debug)]
pub struct SystemFiles {
    root: OwnedFd,
}

#[derive(Debug)]
struct SystemFile(OwnedFd);

/// A file that is locked until this is dropped.
#[derive(Debug)]
struct LockedFile(SystemFile);

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing is not enough: a program that is just being started has a copy of the handle
        // between its fork and its exec, and would hold the lock for so long. Nobody can be told of
        // an error, and the handle is closed next.
        let _closed_next = rustix::fs::flock(&self.0.0, FlockOperation::Unlock);
    }
}

/// Where the last step of a path is taken from.
enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(directory) => *directory,
            Self::Below(directory) => directory.as_fd(),
        }
    }
}

impl SystemFiles {
    /// Opens the directory at `root`, which must not be a symbolic link.
    ///
    /// # Errors
    /// There is none, or the system refuses.
    pub fn open(root: &Path) -> io::Result<Self> {
        // A trailing slash would make the system follow a link.
        let root: PathBuf = root.components().collect();
        let root = rustix::fs::open(root.as_path(), DIRECTORY, Mode::empty())?;
        Ok(Self { root })
    }

    /// The same, but creates the directory if it is missing, though not the one that it is to be
    /// in.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open_or_create(root: &Path) -> io::Result<Self> {
        match Self::open(root) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Ok(files) => {
                // Nothing is put into it before its name is durable: it may have been made by one
                // who died or failed in between.
                if files.list("")?.is_empty() {
                    match sync_name(root) {
                        // Somebody else's, then, who may do more than this process.
                        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {}
                        synced => synced?,
                    }
                }
                return Ok(files);
            }
            Err(err) => return Err(err),
        }
        let root: PathBuf = root.components().collect();
        match rustix::fs::mkdir(root.as_path(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        sync_name(&root)?;
        Self::open(&root)
    }

    /// Walks to the directory that holds `path` and returns it with the last name.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(Parent<'_>, &'p str)> {
        let mut parent = Parent::Root(self.root.as_fd());
        let mut rest = path;
        loop {
            let (name, behind) = match rest.split_once('/') {
                Some((name, behind)) => (name, Some(behind)),
                None => (rest, None),
            };
            if matches!(name, "" | "." | "..") || name.contains('\0') {
                let message = format!("{path:?} is no path below the root");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            match behind {
                None => return Ok((parent, name)),
                Some(behind) => {
                    parent = Parent::Below(open_directory(parent.as_fd(), name)?);
                    rest = behind;
                }
            }
        }
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        match path {
            // A handle of its own, so that reading it moves nobody else's position.
            "" => open_directory(self.root.as_fd(), "."),
            _ => {
                let (parent, name) = self.parent(path)?;
                open_directory(parent.as_fd(), name)
            }
        }
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?)
}

/// Makes the name of a directory durable, by a sync of the one that it is in.
fn sync_name(root: &Path) -> io::Result<()> {
    let root: PathBuf = root.components().collect();
    let parent = match root.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new(match root.components().next() {
            Some(Component::RootDir) => "/",
            _ => ".",
        }),
    };
    // The way to the root is the user's, and may have links in it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    sync_opened_directory(parent.as_fd())
}

fn sync_opened_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::fs::fsync(directory) {
        // Some file systems have nothing to sync here and say so.
        Err(Errno::INVAL) | Ok(()) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

fn file_mode() -> Mode {
    Mode::RUSR | Mode::WUSR
}

fn check_regular(file: OwnedFd) -> io::Result<SystemFile> {
    let found = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if found == FileType::RegularFile {
        Ok(SystemFile(file))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a regular file: {found:?}")))
    }
}

impl FileOps for SystemFiles {
    fn create_directory(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::mkdirat(parent.as_fd(), name, Mode::RWXU)?)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.directory(directory)?)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn mode(&self, path: &str) -> io::Result<u32> {
        let stat = match path {
            "" => rustix::fs::fstat(&self.root)?,
            _ => {
                let (parent, name) = self.parent(path)?;
                rustix::fs::statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?
            }
        };
        Ok(Mode::from_raw_mode(stat.st_mode).as_raw_mode())
    }

    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        let (parent, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent.as_fd(), name, flags, file_mode())?;
        Ok(Box::new(SystemFile(file)))
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        let (parent, name) = self.parent(path)?;
        // Without NONBLOCK a planted pipe would hold us up for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent.as_fd(), name, flags, Mode::empty())?;
        Ok(Box::new(check_regular(file)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        Ok(rustix::fs::renameat(from_parent.as_fd(), from_name, to_parent.as_fd(), to_name)?)
    }

    fn link_out(&self, path: &str, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let here = rustix::fs::CWD;
        Ok(rustix::fs::linkat(parent.as_fd(), name, here, to, AtFlags::empty())?)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(parent.as_fd(), name, AtFlags::empty())?)
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        sync_opened_directory(self.directory(path)?.as_fd())
    }

    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>> {
        shared_sync::begin(self)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>> {
        let (parent, name) = self.parent(path)?;
        loop {
            let flags = OFlags::RDWR
                | OFlags::CREATE
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::CLOEXEC;
            let file =
                check_regular(rustix::fs::openat(parent.as_fd(), name, flags, file_mode())?)?;
            match rustix::fs::flock(&file.0, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(err) => return Err(err.into()),
            }
            // The lock is on the file, not on its name: if somebody replaced the file meanwhile,
            // the lock that counts is on another one.
            let mine = rustix::fs::fstat(&file.0)?;
            // What is written to it would be written to the file of somebody else.
            if mine.st_nlink > 1 {
                let message = "the lock file has another name too";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            match rustix::fs::statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino) => {
                    return Ok(Some(Box::new(LockedFile(file))));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn doubtful_kind(&self) -> Option<&'static str> {
        doubtful_kind::of(self.root.as_fd())
    }
}

impl FileHandle for LockedFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.0.read_at_now(buffer, offset)
    }

    fn prefetch(&self, offset: u64, bytes: u64) {
        self.0.prefetch(offset, bytes);
    }

    fn file_bytes(&self) -> io::Result<u64> {
        self.0.file_bytes()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl FileHandle for SystemFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.0, buffer, offset)?)
    }

    // What is in the page cache is read, and nothing is waited for (Linux 4.14).
    #[cfg(target_os = "linux")]
    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let buffers = &mut [io::IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.0, buffers, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(Some(read)),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn read_at_now(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<Option<usize>> {
        Ok(None)
    }

    #[cfg(not(target_vendor = "apple"))]
    fn prefetch(&self, offset: u64, bytes: u64) {
        // It is advice: that it cannot be taken changes nothing.
        let _not_taken =
            rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(bytes), Advice::WillNeed);
    }

    #[cfg(target_vendor = "apple")]
    fn prefetch(&self, _offset: u64, _bytes: u64) {}

    fn file_bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.0)?.st_size).unwrap_or(0))
    }

    #[cfg(not(target_vendor = "apple"))]
    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    // There, `fsync` leaves the data in the drive's cache.
    #[cfg(target_vendor = "apple")]
    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fcntl_fullfsync(&self.0)?)
    }
}
