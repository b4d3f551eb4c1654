//! The kinds of file systems that are known to promise less than a local disk.

use std::os::fd::BorrowedFd;

/// The numbers by which Linux knows them (statfs(2) and linux/magic.h).
const DOUBTFUL: &[(u32, &str)] = &[
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFE53_4D42, "smb"),
    (0xFF53_4D42, "cifs"),
    (0x6573_5546, "fuse"),
    (0x794C_7630, "overlay"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x5346_414F, "afs"),
    (0x7375_7245, "coda"),
    (0x0BD0_0BD0, "lustre"),
];

/// Returns the name of the kind of the file system that a directory is on, if it is one of these.
#[cfg(target_os = "linux")]
pub(super) fn of(directory: BorrowedFd<'_>) -> Option<&'static str> {
    let number = rustix::fs::fstatfs(directory).ok()?.f_type;
    // Of whatever size and sign it is here, the lower half is what is compared.
    named(u32::from_le_bytes(*number.to_le_bytes().first_chunk()?))
}

/// The same where these numbers mean nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn of(_directory: BorrowedFd<'_>) -> Option<&'static str> {
    None
}

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there are no such numbers"))]
fn named(number: u32) -> Option<&'static str> {
    DOUBTFUL.iter().find(|(doubtful, _)| *doubtful == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B12.
    #[test]
    fn network_file_systems_are_doubtful_and_those_of_disks_are_not() {
        assert_eq!(named(0x6969), Some("nfs"));
        assert_eq!(named(0xFF53_4D42), Some("cifs"));
        // ext4, xfs, btrfs and tmpfs.
        for disk in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994] {
            assert_eq!(named(disk), None);
        }
    }
}
