//! Where stores lie: in memory, where a killed process leaves what it wrote, or on a disk.

use std::path::Path;

/// A directory in memory if the system has such; what a process wrote there survives its death.
pub(crate) fn in_memory() -> tempfile::TempDir {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        tempfile::tempdir_in(shared_memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A directory on the disk that the build is on: syncs are real there.
pub(crate) fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
