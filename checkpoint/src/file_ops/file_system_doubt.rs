//! What speaks against a store on a file system.

use std::fmt;

/// A reason why a directory is not the place for a store that must have one writer and survive a
/// loss of power. The store opens all the same: what it promises is then up to those who run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileSystemDoubt {
    /// The file system is of a kind whose locks may not reach everybody who has it, and whose
    /// renames and syncs may not be those of a local disk.
    Kind {
        /// The kind: `nfs`, `smb`, `fuse`, `overlay`, `9p` and the like.
        name: &'static str,
    },
    /// A file that was locked could be locked once more: nothing keeps two processes from having
    /// the store open, and overwriting each other's states.
    LocksTwice,
}

impl fmt::Display for FileSystemDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { name: "overlay" } => f.write_str(
                "the file system is an overlay: what is in it may go with its container, and its \
                 lock keeps nobody out who has the directory by another way",
            ),
            Self::Kind { name } => write!(
                f,
                "the file system is of the kind {name}: its lock may not keep other machines out, \
                 and what it has renamed and synced may not be durable"
            ),
            Self::LocksTwice => f.write_str(
                "the lock does not lock: another process can have the store open too, and either \
                 overwrites what the other has stored",
            ),
        }
    }
}
