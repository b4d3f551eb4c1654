//! Every system call of opening, saving and compacting that changes files is hit in turn: the
//! process is killed at it (A1, A2, T2), or it fails (B1 to B5, B7 to B9, T7).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, Durability, FetchVersion, RecordKind, RecordView, SaveOutcome, StateVersion,
};
use checkpoint_tests::{Backend, Quota};

use crate::processes::strace::{Call, Traced, trace};
use crate::processes::{durable_before_told, places, show};

const ERRORS: &[&str] = &["EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR", "EMFILE", "EACCES"];
/// Of these a close has none to tell.
const NOT_OF_CLOSE: &[&str] = &["EROFS", "EMFILE", "EACCES", "ENOSPC", "EDQUOT"];
/// The keys that are there before.
const OLD: &[&str] = &["a", "b", "c", "d", "e", "f", "g"];
const NEW: &[&str] = &["new1", "new2", "new3"];
/// What a system call may be hit with.
const KILL: &str = "signal=SIGKILL";

/// What the store of a run is, where it lies, and whether there is one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Scenario {
    backend: Backend,
    on_disk: bool,
    is_new: bool,
}

/// One system call that is hit.
#[derive(Debug, Clone)]
struct Point {
    scenario: Scenario,
    name: String,
    ordinal: usize,
    hit: String,
}

impl Point {
    fn inject(&self) -> String {
        format!("{}:{}:when={}", self.name, self.hit, self.ordinal)
    }
}

/// A directory with a store in it as the scenario wants it.
fn prepare(scenario: Scenario) -> (tempfile::TempDir, BTreeMap<String, StateVersion>) {
    let directory = if scenario.on_disk { places::on_disk() } else { places::in_memory() };
    let root = directory.path().join("state");
    let mut old = BTreeMap::new();
    if !scenario.is_new {
        let storage = scenario.backend.open_with(&root, Durability::Process).unwrap();
        let epoch = storage.open_epoch(0).unwrap().0;
        for (key, sequence) in OLD.iter().zip(1..) {
            let (id, version) = (id(key), StateVersion::new(epoch, sequence));
            let record = conformance::record(&id, version, &payload(&id, version));
            let outcomes = conformance::save(&*storage, &[record]);
            assert!(matches!(outcomes.as_slice(), [SaveOutcome::Stored]), "{outcomes:?}");
            old.insert((*key).to_owned(), version);
        }
        storage.put_metadata("m", None, b"1").unwrap();
        drop(storage);
        // Of a writer that died before.
        fs::write(root.join("temp/ff"), "half a record").unwrap();
    }
    (directory, old)
}

fn id(key: &str) -> CheckpointId {
    CheckpointId::new("p", key).unwrap()
}

/// As the program writes it.
fn payload(id: &CheckpointId, version: StateVersion) -> Vec<u8> {
    format!("{id} {version}").into_bytes().repeat(20)
}

fn run(backend: Backend, directory: &Path, inject: Option<&str>) -> Traced {
    let mut program = Command::new(env!("CARGO_BIN_EXE_save_steps"));
    program.arg(backend.name()).arg(directory.join("state"));
    trace(&mut program, &directory.join("log"), inject)
}

/// Whether a call is about the store, or the directory that it is in.
fn is_ours(call: &Call, directory: &Path) -> bool {
    let directory = directory.to_str().unwrap();
    let texts = if call.name == "write" { Vec::new() } else { call.texts() };
    call.paths().into_iter().take(2).chain(texts).any(|path| path.starts_with(directory))
}

/// All system calls of a run that is left alone.
fn points(scenario: Scenario) -> Vec<(String, usize)> {
    let (directory, _) = prepare(scenario);
    let backend = scenario.backend;
    let traced = run(backend, directory.path(), None);
    assert!(traced.status.success(), "{}", traced.output);
    let acknowledged = durable_before_told::check(backend, &traced.calls).unwrap();
    let expected = if backend == Backend::Log { 18 } else { 12 };
    assert_eq!(acknowledged, expected, "{}", traced.output);
    let ours = traced.calls.iter().filter(|call| is_ours(call, directory.path()));
    let mut points: Vec<_> = ours.map(|call| (call.name.clone(), call.ordinal)).collect();
    // One more than there is of each: that run must end clean, or not all were enumerated.
    let names: BTreeSet<_> = points.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        let last = traced.calls.iter().filter(|call| call.name == name).count();
        points.push((name, last + 1));
    }
    points
}

/// What a program has printed about each key: what it tried, and what it was told is stored.
#[derive(Default)]
struct Told {
    tried: BTreeMap<String, BTreeSet<StateVersion>>,
    stored: BTreeMap<String, StateVersion>,
}

impl Told {
    fn read(&mut self, output: &str) {
        for line in output.lines().filter_map(|line| line.strip_suffix(" .")) {
            let words: Vec<_> = line.split(' ').collect();
            let [what, key, epoch, sequence] = words.as_slice() else { continue };
            let version = StateVersion::new(epoch.parse().unwrap(), sequence.parse().unwrap());
            match *what {
                "tried" => {
                    self.tried.entry((*key).to_owned()).or_default().insert(version);
                }
                "stored" => {
                    self.stored.insert((*key).to_owned(), version);
                }
                _ => {}
            }
        }
    }

    /// Checks what is in the store after all processes have ended.
    fn check(
        &self,
        backend: Backend,
        root: &Path,
        old: &BTreeMap<String, StateVersion>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let storage = backend.open_at_rest(root)?;
        assert_eq!(fs::read_dir(root.join("temp"))?.count(), 0, "not swept");
        for key in OLD.iter().chain(NEW) {
            let id = id(key);
            let (old, stored) = (old.get(*key).copied(), self.stored.get(*key).copied());
            let Some(bytes) = conformance::fetch(&*storage, &id, FetchVersion::Newest)? else {
                if old.max(stored).is_some() {
                    return Err(format!("{key} is gone").into());
                }
                continue;
            };
            let record = RecordView::parse(&bytes)?.of(id.as_ref())?;
            let found = record.header().version;
            let was_tried = self.tried.get(*key).is_some_and(|tried| tried.contains(&found));
            if Some(found) < old.max(stored) || !(was_tried || Some(found) == old) {
                return Err(format!("{key}: {found}; {old:?}, stored {stored:?}").into());
            }
            let is_state = record.header().kind == RecordKind::State;
            if is_state && record.payload() != payload(&id, found) {
                return Err(format!("{key}: the content is not that of {found}").into());
            }
        }
        let metadata = storage.metadata("m")?.map_or(0, |found| found.version.0);
        let stored = self.stored.get("metadata").map_or(0, |version| version.sequence.0);
        let tried = self.tried.get("metadata").and_then(BTreeSet::last);
        let tried = tried.map_or(u64::from(!old.is_empty()), |version| version.sequence.0);
        if metadata < stored || metadata > tried {
            return Err(format!("metadata: {metadata}, not from {stored} to {tried}").into());
        }
        Ok(())
    }
}

/// Hits one system call. Returns whether there was such a one.
fn hit(point: &Point) -> Result<bool, Box<dyn std::error::Error>> {
    let (directory, old) = prepare(point.scenario);
    let root = directory.path().join("state");
    let mut told = Told::default();
    let backend = point.scenario.backend;
    let mut traced = run(backend, directory.path(), Some(&point.inject()));
    told.read(&traced.output);
    if point.hit != KILL {
        durable_before_told::check(backend, &traced.calls)?;
        // It goes on, and what failed is stored when it is tried again.
        if !traced.status.success() {
            return Err(format!("{}: {}", traced.status, traced.output).into());
        }
        check_told(backend, &told, &root, &old, &traced)?;
        return Ok(traced.calls.iter().any(Call::is_injected));
    }
    let was_hit = traced.status.signal() == Some(9);
    // One in three times the next process is killed too, while it recovers.
    if point.ordinal.is_multiple_of(3) {
        let early = Point { ordinal: point.ordinal / 2 + 1, ..point.clone() };
        let next = run(backend, directory.path(), Some(&early.inject()));
        told.read(&next.output);
        traced.calls.extend(next.calls);
    }
    // The next one's acknowledgements stand on what the dead ones have left: a copy of that is
    // looked at, and a last process goes on with it.
    let copy = directory.path().join("copy");
    if root.exists() {
        let copied = Command::new("cp").arg("-a").args([&root, &copy]).status()?;
        assert!(copied.success(), "{copied}");
        check_told(backend, &told, &copy, &old, &traced)?;
    }
    let last = run(backend, directory.path(), None);
    if !last.status.success() {
        return Err(format!("afterwards: {}: {}", last.status, last.output).into());
    }
    traced.calls.extend(last.calls);
    durable_before_told::check(backend, &traced.calls)?;
    Ok(was_hit)
}

fn check_told(
    backend: Backend,
    told: &Told,
    root: &Path,
    old: &BTreeMap<String, StateVersion>,
    traced: &Traced,
) -> Result<(), Box<dyn std::error::Error>> {
    told.check(backend, root, old).map_err(|err| format!("{err}\n{}", traced.output).into())
}

/// Chooses so many of them, evenly.
fn choose(points: Vec<Point>, count: usize) -> Vec<Point> {
    let step = points.len().div_ceil(count.max(1)).max(1);
    points.into_iter().step_by(step).collect()
}

/// Hits all points, on several threads, and tells of all that went wrong.
fn hit_all(points: &[Point], last: &BTreeMap<(String, Scenario), usize>) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let last = last[&(point.name.clone(), point.scenario)];
                    match hit(point) {
                        Ok(was_hit) if was_hit == (point.ordinal < last) => {}
                        Ok(was_hit) => {
                            let what = format!("{point:?}: hit: {was_hit}, of {last}");
                            wrong.lock().unwrap().push(what);
                        }
                        Err(err) => wrong.lock().unwrap().push(format!("{point:?}: {err}")),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), points.len(), wrong.join("\n"));
}

fn check(backend: Backend, quota: Quota, hits: &[String]) {
    let mut all = Vec::new();
    let mut last = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (on_disk, is_new) in [(false, false), (false, true), (true, false)] {
        let scenario = Scenario { backend, on_disk, is_new };
        for (name, ordinal) in points(scenario) {
            let highest = last.entry((name.clone(), scenario)).or_insert(ordinal);
            *highest = ordinal.max(*highest);
            names.insert(name.clone());
            // The disk differs from memory in its syncs only, and takes its time.
            if on_disk && !name.contains("sync") && !name.contains("rename") {
                continue;
            }
            let is_apt = |hit: &&String| {
                name != "close" || NOT_OF_CLOSE.iter().all(|error| !hit.ends_with(error))
            };
            for hit in hits.iter().filter(is_apt) {
                all.push(Point { scenario, name: name.clone(), ordinal, hit: hit.clone() });
            }
        }
    }
    let expected = ["close", "fdatasync", "flock", "fsync", "mkdirat", "openat", "renameat"];
    for name in expected.into_iter().chain(["unlinkat", "write"]) {
        assert!(names.contains(name), "{name} was not enumerated: {names:?}");
    }
    let count = all.len();
    let chosen = choose(all, quota.get().try_into().unwrap());
    hit_all(&chosen, &last);
    show(&format!(
        "{backend:?}: {} of {count} system calls hit with {hits:?}: {names:?}",
        chosen.len()
    ));
}

#[test]
fn a_kill_at_any_system_call_loses_nothing_acknowledged() {
    check(Backend::Files, Quota::SYSTEM_CALLS, &[KILL.to_owned()]);
}

#[test]
fn a_kill_at_any_system_call_of_a_log_loses_nothing_acknowledged() {
    check(Backend::Log, Quota::LOG_SYSTEM_CALLS, &[KILL.to_owned()]);
}

#[test]
fn a_failure_of_any_system_call_is_told_and_passes() {
    check(Backend::Files, Quota::SYSTEM_CALLS, &errors());
}

#[test]
fn a_failure_of_any_system_call_of_a_log_is_told_and_passes() {
    check(Backend::Log, Quota::LOG_SYSTEM_CALLS, &errors());
}

fn errors() -> Vec<String> {
    ERRORS.iter().map(|error| format!("error={error}")).collect()
}
