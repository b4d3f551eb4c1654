//! Many records are asked for at once: those that lie side by side are read with one call, in the
//! order in which they lie there, and no more than fits into memory.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use checkpoint::{FileHandle, FileOps, LogStorage, RecordView, SharedSync, StateStorage};
use checkpoint_tests::simulation::{Fate, Machine};

use super::{id, payload, store};

/// What the file of a segment is asked: the offset, and how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Prefetch(u64, u64),
    Read(u64, u64),
}

impl Asked {
    fn offset(self) -> u64 {
        match self {
            Self::Prefetch(offset, _) | Self::Read(offset, _) => offset,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Prefetch(_, bytes) | Self::Read(_, bytes) => bytes,
        }
    }
}

type Log = Arc<Mutex<Vec<Asked>>>;

/// Files that note what is asked of those that are open to be read.
#[derive(Debug)]
struct Watched {
    files: Arc<dyn FileOps>,
    asked: Log,
}

impl FileOps for Watched {
    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.files.create_directory(path)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.files.list(directory)
    }

    fn mode(&self, path: &str) -> io::Result<u32> {
        self.files.mode(path)
    }

    fn create_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        self.files.create_file(path)
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn FileHandle>> {
        let file = self.files.open_file(path)?;
        Ok(Box::new(WatchedFile { file, asked: self.asked.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn link_out(&self, path: &str, to: &Path) -> io::Result<()> {
        self.files.link_out(path, to)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.files.remove_file(path)
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        self.files.sync_directory(path)
    }

    fn begin_shared_sync(&self) -> io::Result<Option<Box<dyn SharedSync>>> {
        self.files.begin_shared_sync()
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn FileHandle>>> {
        self.files.try_lock(path)
    }

    fn doubtful_kind(&self) -> Option<&'static str> {
        self.files.doubtful_kind()
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn FileHandle>,
    asked: Log,
}

impl FileHandle for WatchedFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.asked.lock().unwrap().push(Asked::Read(offset, buffer.len() as u64));
        self.file.read_at(buffer, offset)
    }

    fn read_at_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.file.read_at_now(buffer, offset)
    }

    fn prefetch(&self, offset: u64, bytes: u64) {
        self.asked.lock().unwrap().push(Asked::Prefetch(offset, bytes));
        self.file.prefetch(offset, bytes);
    }

    fn file_bytes(&self) -> io::Result<u64> {
        self.file.file_bytes()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A log with a state of so many bytes for each of these keys, stored one after the other.
fn log(states: &[(&str, usize)]) -> (LogStorage, Log) {
    let asked = Log::default();
    let files = Watched { files: Machine::new(0).start(Fate::default()), asked: asked.clone() };
    let builder = LogStorage::builder("/simulated").background_compaction(false);
    let storage = builder.open_over(Arc::new(files)).unwrap();
    for (n, (key, bytes)) in (1..).zip(states) {
        store(&storage, key, n, &vec![9; *bytes]);
    }
    asked.lock().unwrap().clear();
    (storage, asked)
}

/// The keys that are found, in the order in which they are.
fn found(storage: &LogStorage, keys: &[&str]) -> Vec<String> {
    let ids: Vec<_> = keys.iter().map(|key| id(key)).collect();
    let refs: Vec<_> = ids.iter().map(|id| id.as_ref()).collect();
    let mut found = Vec::new();
    storage.fetch_many(&refs, &mut |at, record| {
        assert_eq!(RecordView::parse(&record).unwrap().header().id, refs[at]);
        found.push(keys[at].to_owned());
    });
    found
}

/// What was asked, and nothing but that.
fn taken(asked: &Log) -> (Vec<Asked>, Vec<Asked>) {
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    assert!(asked.is_sorted_by_key(|asked| (matches!(asked, Asked::Read(..)), asked.offset())));
    asked.into_iter().partition(|asked| matches!(asked, Asked::Prefetch(..)))
}

#[test]
fn records_that_lie_side_by_side_are_read_with_one_call() {
    let (storage, asked) = log(&[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)]);
    // Another order than that in which they were stored, one twice, and one that there is not.
    let keys = ["d", "a", "none", "c", "b", "a"];
    assert_eq!(found(&storage, &keys), ["a", "a", "b", "c", "d"]);
    let (prefetched, read) = taken(&asked);
    assert_eq!((prefetched.len(), read.len()), (0, 1), "{read:?}");
    assert!((4000..8000).contains(&read[0].bytes()), "{read:?}");
    storage.prefetch(&keys.map(id));
    let (prefetched, read) = taken(&asked);
    assert_eq!((prefetched.len(), read.len()), (1, 0), "{prefetched:?}");
    assert!((4000..8000).contains(&prefetched[0].bytes()), "{prefetched:?}");
}

#[test]
fn records_far_apart_are_asked_for_in_their_order_before_the_first_is_waited_for() {
    const APART: usize = 100 << 10;
    let states = [("a", 50), ("x", APART), ("b", 50), ("y", APART), ("c", 50)];
    let (storage, asked) = log(&states);
    let keys = ["c", "a", "b"];
    assert_eq!(found(&storage, &keys), ["a", "b", "c"]);
    let (prefetched, read) = taken(&asked);
    let offsets = |asked: &[Asked]| asked.iter().map(|asked| asked.offset()).collect::<Vec<_>>();
    assert_eq!((prefetched.len(), offsets(&prefetched)), (3, offsets(&read)));
    storage.prefetch(&keys.map(id));
    assert_eq!(taken(&asked), (prefetched, Vec::new()));
}

#[test]
fn what_would_take_too_much_memory_is_left_to_be_fetched_alone() {
    const MIB: usize = 1 << 20;
    let large = ["a", "b", "c", "d", "e", "f"];
    let mut states: Vec<_> = large.map(|key| (key, 900 << 10)).into();
    states.extend([("between", 10_000), ("small", 50)]);
    let (storage, asked) = log(&states);
    let keys = [&large[..], &["small"]].concat();
    // Each is read alone, and what is small fits in behind them.
    assert_eq!(found(&storage, &keys), ["a", "b", "c", "d", "small"]);
    let (_, read) = taken(&asked);
    let bytes: Vec<_> = read.iter().map(|read| read.bytes()).collect();
    assert!(bytes.iter().all(|bytes| *bytes <= MIB as u64), "{bytes:?}");
    assert!(bytes.iter().sum::<u64>() <= 4 * MIB as u64, "{bytes:?}");
    assert_eq!(payload(&storage, "f").unwrap().len(), 900 << 10);
}
