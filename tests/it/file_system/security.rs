//! What others may read and write, and what they may have planted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use checkpoint::{DefaultFileSystemStateStorage, SaveOutcome, StateStorage, StorageErrorKind};

use super::{check_error, fetch, open, record, save_one, state_path, store};

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.clone());
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        }
    }
}

/// K4.
#[test]
fn files_are_the_owners_alone_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        // In a process of its own: the umask belongs to all threads.
        let status = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
            .args([env!("CARGO_BIN_EXE_save_loop"), root.to_str().unwrap(), "1", "5"])
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let mut found = vec![root.clone()];
        walk(&root, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for path in found {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            let mode = metadata.permissions().mode() & 0o7777;
            assert_eq!(mode, expected, "umask {umask}: {} has {mode:o}", path.display());
        }
    }
}

/// K4.
#[test]
fn a_directory_that_everybody_may_write_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    fs::create_dir(&root).unwrap();
    for mode in [0o777, 0o702, 0o1777] {
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let err = DefaultFileSystemStateStorage::open(&root).unwrap_err();
        check_error(&err, StorageErrorKind::Forbidden, &root);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
    // A group may be trusted; it is only warned of.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o770)).unwrap();
    open(&root);
}

/// A store with one state, and a directory beside it that nothing may lead to.
fn with_decoy() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    store(&open(&root), record("a", 1, b"first"));
    let decoy = directory.path().join("decoy");
    fs::create_dir(&decoy).unwrap();
    fs::write(decoy.join("victim"), "untouched").unwrap();
    (directory, root, decoy)
}

#[track_caller]
fn check_decoy(decoy: &Path) {
    let mut found = Vec::new();
    walk(decoy, &mut found);
    assert_eq!(found, [decoy.join("victim")]);
    assert_eq!(fs::read_to_string(decoy.join("victim")).unwrap(), "untouched");
}

/// Checks that neither opening nor saving nor fetching goes through a link planted at `planted`.
#[track_caller]
fn check_link(planted: &str, to_directory: bool) {
    let (_directory, root, decoy) = with_decoy();
    let path = root.join(planted);
    if path.is_dir() {
        fs::remove_dir_all(&path).unwrap();
    } else {
        drop(fs::remove_file(&path));
    }
    symlink(if to_directory { decoy.clone() } else { decoy.join("victim") }, &path).unwrap();
    match DefaultFileSystemStateStorage::open(&root) {
        Err(err) => assert_eq!(err.kind(), StorageErrorKind::InvalidStore, "{planted}: {err}"),
        Ok(storage) => {
            let fetched = fetch(&storage, "a");
            let saved = save_one(&storage, record("a", 2, b"second"));
            let put = storage.put_metadata("m", None, b"value");
            let refused = fetched.is_err() && matches!(saved, SaveOutcome::NotStored(_));
            // A link in place of what only metadata or temporary files need is met there.
            assert!(refused || put.is_err(), "{planted}: {fetched:?}, {saved:?}, {put:?}");
        }
    }
    check_decoy(&decoy);
}

/// K2.
#[test]
fn links_are_not_followed_wherever_they_are_planted() {
    for directory in ["070", "070/30", "temp", "meta"] {
        check_link(directory, true);
    }
    for file in ["070/30/061", "lock", "store", "epoch", "meta/06d"] {
        check_link(file, false);
    }
}

/// K2.
#[test]
fn a_link_as_the_store_itself_is_refused() {
    let (directory, root, _decoy) = with_decoy();
    let link = directory.path().join("link");
    symlink(&root, &link).unwrap();
    for path in [link.clone(), link.join("")] {
        let err = DefaultFileSystemStateStorage::open(path).unwrap_err();
        check_error(&err, StorageErrorKind::InvalidStore, &link);
    }
}

/// K2.
#[test]
fn a_link_planted_as_a_temporary_file_is_not_written_through() {
    let (_directory, root, decoy) = with_decoy();
    let storage = open(&root);
    for number in 0..64 {
        let path = root.join(format!("temp/{number:x}"));
        symlink(decoy.join("victim"), &path).unwrap();
    }
    let outcome = save_one(&storage, record("a", 2, b"second"));
    assert!(matches!(outcome, SaveOutcome::NotStored(_)), "{outcome:?}");
    check_decoy(&decoy);
    drop(storage);
    // The links are swept like any other leftover, and what they point to is not.
    store(&open(&root), record("a", 2, b"second"));
    check_decoy(&decoy);
}

/// K3.
#[test]
fn a_file_with_another_name_too_is_replaced_and_not_written() {
    let (directory, root, _decoy) = with_decoy();
    let other = directory.path().join("other name");
    fs::hard_link(state_path(&root, "a"), &other).unwrap();
    store(&open(&root), record("a", 2, b"second"));
    assert_eq!(fs::read(other).unwrap(), record("a", 1, b"first"));
}

/// K3: only new files are written, whatever has been given their names.
#[test]
fn what_has_another_name_too_is_not_written_wherever_it_is_planted() {
    for planted in ["lock", "store", "epoch", "temp/0", "temp/1", "temp/2", "meta/06d"] {
        let (_directory, root, decoy) = with_decoy();
        let path = root.join(planted);
        drop(fs::remove_file(&path));
        fs::hard_link(decoy.join("victim"), &path).unwrap();
        if let Ok(storage) = DefaultFileSystemStateStorage::open(&root) {
            drop(save_one(&storage, record("a", 2, b"second")));
            drop(storage.put_metadata("m", None, b"value"));
        }
        check_decoy(&decoy);
    }
}

#[test]
fn a_pipe_in_place_of_a_state_is_refused_and_not_waited_for() {
    let (_directory, root, _decoy) = with_decoy();
    let path = state_path(&root, "a");
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let storage = open(&root);
    check_error(&fetch(&storage, "a").unwrap_err(), StorageErrorKind::InvalidStore, &path);
}

#[test]
fn foreign_files_are_ignored_and_left_alone() {
    let (_directory, root, _decoy) = with_decoy();
    let foreign = [
        "README",
        "lost+found/file",
        "070/notes.txt",
        "070/30/061.bak",
        "070/30/.hidden",
        "070/30/0616",
        "070/zz/061",
        "0XYZ/00/061",
        "temp/mine.txt",
        "meta/mine.txt",
    ];
    for path in foreign.map(|path| root.join(path)) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    let storage = open(&root);
    assert!(fetch(&storage, "a").unwrap().is_some());
    store(&storage, record("a", 2, b"second"));
    store(&storage, record("b", 1, b"first"));
    let mut ids = Vec::new();
    let listed = storage.ids("p", &mut |id| {
        ids.push(id.to_text());
        std::ops::ControlFlow::Continue(())
    });
    listed.unwrap();
    ids.sort();
    assert_eq!(ids, ["p/a", "p/b"]);
    drop(storage);
    drop(open(&root));
    for path in foreign.map(|path| root.join(path)) {
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine", "{}", path.display());
    }
}

#[test]
fn all_names_are_lower_case_hex_or_the_stores_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = open(&root);
    let keys =
        [&b""[..], b"..", b"../../x", b"/etc/passwd", b"A", &[0; 100], &[0; 101], &[9; 65_536]];
    for prototype in ["P/..", "..", &"n".repeat(200)] {
        for key in keys {
            let id = checkpoint::CheckpointId::new(prototype, key).unwrap();
            let version = checkpoint::StateVersion::new(1, 1);
            store(&storage, checkpoint::storage::conformance::record(&id, version, b"x"));
        }
    }
    let mut found = Vec::new();
    walk(directory.path(), &mut found);
    for path in found {
        let name = path.file_name().unwrap().to_str().unwrap();
        let own = ["state", "store", "lock", "epoch", "meta", "temp"].contains(&name);
        let hex = name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!((own || hex) && name.len() <= 255, "{}", path.display());
    }
}
