//! What the process has used so far, as the system counts it: all its threads together.

use std::fs;
use std::ops::Sub;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};

/// What was used since the process began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// What was to be written to the disk, but for the file system's own.
    pub(crate) written_bytes: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Self {
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            written_bytes: written.and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
        }
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// The memory that the process has.
pub(crate) fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}

/// A directory for what is to be durable: in `CHECKPOINT_BENCH_DIR`, or where cargo builds, which
/// is on a disk.
pub(crate) fn directory() -> tempfile::TempDir {
    let place = std::env::var_os("CHECKPOINT_BENCH_DIR").map(PathBuf::from);
    let place = place.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    fs::create_dir_all(&place).unwrap();
    tempfile::tempdir_in(place).unwrap()
}

/// How many bytes the files in a directory take on the disk.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes += disk_bytes(&path);
        } else if let Ok(metadata) = fs::metadata(path) {
            // It may be removed just now.
            bytes += metadata.blocks() * 512;
        }
    }
    bytes
}

/// Writes what lies in a directory to the disk, and has the system forget what it has of it in
/// memory.
pub(crate) fn forget_cached(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            forget_cached(&entry.path());
        } else if let Ok(file) = fs::File::open(entry.path()) {
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

/// What the figures were measured on.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    let load = read("/proc/loadavg");
    format!(
        "{count} x {model}, {:.0} GiB, Linux {}, load {}",
        kib.unwrap_or(0.0) / f64::from(1 << 20),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split_whitespace().next().unwrap_or("?"),
    )
}
