//! A batch that was being written when the process ended is cut off, and nothing else (A1, P6).

use std::fs;

use checkpoint::{LogStorage, StateStorage};

use super::{kill, payload, segments, store};

#[test]
fn wherever_the_last_batch_is_torn_all_before_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    storage.open_epoch(0).unwrap();
    store(&storage, "a", 1, b"first");
    store(&storage, "b", 2, b"second");
    let whole = fs::read(&segments(&root)[0]).unwrap();
    store(&storage, "a", 3, b"third");
    kill(storage, &root, &killed);
    let all = fs::read(&segments(&killed)[0]).unwrap();
    assert!(all.len() > whole.len());
    for bytes in whole.len()..=all.len() {
        let torn = directory.path().join(format!("torn{bytes}"));
        let copied = std::process::Command::new("cp").arg("-a").args([&killed, &torn]).status();
        assert!(copied.unwrap().success());
        fs::write(&segments(&torn)[0], &all[..bytes]).unwrap();
        // Twice: what the first opening made of it must be right for the second.
        for _ in 0..2 {
            let storage = LogStorage::open(&torn).unwrap();
            let expected: &[u8] = if bytes == all.len() { b"third" } else { b"first" };
            assert_eq!(payload(&storage, "a").as_deref(), Some(expected), "{bytes} bytes");
            assert_eq!(payload(&storage, "b").as_deref(), Some(&b"second"[..]), "{bytes} bytes");
            assert_eq!(storage.open_report().damages, [], "{bytes} bytes");
            store(&storage, "c", 1, b"goes on");
        }
        fs::remove_dir_all(&torn).unwrap();
    }
}

#[test]
fn what_is_cut_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (root, killed) = (directory.path().join("state"), directory.path().join("killed"));
    let storage = LogStorage::open(&root).unwrap();
    store(&storage, "a", 1, b"first");
    kill(storage, &root, &killed);
    let path = &segments(&killed)[0];
    let all = fs::read(path).unwrap();
    fs::write(path, &all[..all.len() - 1]).unwrap();
    let storage = LogStorage::open(&killed).unwrap();
    let cut = storage.open_report().cut.clone().expect("something was cut");
    assert_eq!((cut.offset, cut.bytes, cut.records), (64, all.len() as u64 - 65, 1), "{cut}");
    assert_eq!(payload(&storage, "a"), None);
}
