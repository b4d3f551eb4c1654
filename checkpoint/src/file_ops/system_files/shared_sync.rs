//! One call that makes everything durable, where there is one that tells errors.

use std::io;

use crate::file_ops::{SharedSync, SystemFiles};

#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_files: &SystemFiles) -> io::Result<Option<Box<dyn SharedSync>>> {
    Ok(None)
}

#[cfg(target_os = "linux")]
pub(super) fn begin(files: &SystemFiles) -> io::Result<Option<Box<dyn SharedSync>>> {
    use syncfs::{BTRFS, EXT, Syncfs, XFS};

    if !syncfs::kernel_tells_errors() {
        return Ok(None);
    }
    // A handle of its own: it is told the errors that happen after it was opened.
    let directory = files.directory("")?;
    let magic = rustix::fs::fstatfs(&directory)?.f_type;
    // The type of the field differs between processors.
    #[expect(clippy::cast_sign_loss, reason = "it is a bit pattern")]
    let magic = magic as u64 & 0xFFFF_FFFF;
    match magic {
        EXT | XFS | BTRFS => Ok(Some(Box::new(Syncfs(directory)))),
        _ => Ok(None),
    }
}

#[cfg(target_os = "linux")]
mod syncfs {
    use std::io;
    use std::os::fd::OwnedFd;

    use crate::file_ops::SharedSync;

    // From `linux/magic.h`. Other file systems (overlays, network ones) write through another one
    // below, whose errors `syncfs` does not pass on.
    pub(super) const EXT: u64 = 0xEF53;
    pub(super) const XFS: u64 = 0x5846_5342;
    pub(super) const BTRFS: u64 = 0x9123_683E;

    #[derive(Debug)]
    pub(super) struct Syncfs(pub(super) OwnedFd);

    impl SharedSync for Syncfs {
        fn sync(&mut self) -> io::Result<()> {
            Ok(rustix::fs::syncfs(&self.0)?)
        }
    }

    /// `syncfs` tells of failed writes since Linux 5.8 (man 2 sync).
    pub(super) fn kernel_tells_errors() -> bool {
        let uname = rustix::system::uname();
        let release = uname.release().to_str().unwrap_or_default();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
        (next(), next()) >= (5, 8)
    }
}
