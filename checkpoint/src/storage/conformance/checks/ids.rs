//! Listing ids, and ids that are hard to tell apart.

use std::ops::ControlFlow;

use crate::checkpoint_id::{CheckpointId, KEY_BYTES_MAX};
use crate::record::StateVersion;
use crate::storage::FetchVersion;
use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::records::{fetch, record, tombstone};
use crate::storage::conformance::subject::Subject;

pub(super) fn ten_saved_ids_are_listed(subject: &mut Subject) -> Checked {
    subject.expect_ids("p", Vec::new())?;
    let ids: Vec<_> = (0..10).map(|n| id("p", format!("key {n}"))).collect();
    for (n, id) in (1..).zip(&ids) {
        subject.store(&record(id, StateVersion::new(1, n), b"state"))?;
        // Again: an id is listed once, however often it was saved.
        subject.store(&record(id, StateVersion::new(2, n), b"state"))?;
    }
    subject.store(&record(&id("q", "key 0"), StateVersion::new(1, 1), b"another's"))?;
    subject.expect_ids("p", ids)
}

pub(super) fn removed_ids_are_not_listed(subject: &mut Subject) -> Checked {
    let ids: Vec<_> = (0..10).map(|n| id("p", format!("key {n}"))).collect();
    for id in &ids {
        subject.store(&record(id, StateVersion::new(1, 1), b"state"))?;
    }
    let (removed, left) = ids.split_at(4);
    for id in removed {
        subject.store(&tombstone(id, StateVersion::new(1, 2)))?;
    }
    subject.expect_ids("p", left.to_vec())
}

pub(super) fn listing_stops_when_told(subject: &mut Subject) -> Checked {
    for n in 0..5 {
        subject.store(&record(&id("p", n.to_string()), StateVersion::new(1, n), b"state"))?;
    }
    let mut visited = 0;
    let listed = subject.storage.ids("p", &mut |_| {
        visited += 1;
        if visited == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    subject.equal("listing that is stopped", &true, &listed.is_ok())?;
    subject.equal("how many ids were visited before the second stopped it", &2, &visited)
}

pub(super) fn what_is_listed_can_be_fetched_meanwhile(subject: &mut Subject) -> Checked {
    let bytes = |n: u64| record(&id("p", n.to_string()), StateVersion::new(1, n), b"state");
    for n in 0..5 {
        subject.store(&bytes(n))?;
    }
    let mut fetched = Vec::new();
    let listed = subject.storage.ids("p", &mut |id| {
        fetched.push(fetch(&*subject.storage, &id, FetchVersion::Newest).ok().flatten());
        ControlFlow::Continue(())
    });
    subject.equal("listing during which is fetched", &true, &listed.is_ok())?;
    fetched.sort();
    let expected: Vec<_> = (0..5).map(|n| Some(bytes(n))).collect();
    subject.equal("what was fetched of the ids listed", &expected.len(), &fetched.len())?;
    subject.equal("the records fetched", &true, &expected.iter().all(|it| fetched.contains(it)))
}

pub(super) fn keys_of_any_bytes_are_distinct(subject: &mut Subject) -> Checked {
    let keys: Vec<Vec<u8>> = [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"../",
        b"../../etc/passwd",
        b"a];[b",
        b"a",
        b"A",
        b"a ",
        b" a",
        b"a.",
        b"a\0",
        b"\0",
        b"\0\0",
        b"a%20b",
        b"a b",
        b"a\\b",
        b"C:",
        b"CON",
        b"nul",
        b"*",
        b"a\nb",
        b"61",
        b"0061",
        b"\xFF\xFE",
        b"\xC3\xA9",
        b"e\xCC\x81",
        b"'; DROP TABLE states; --",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .chain([99, 100, 101, 255, 256, 4_096, KEY_BYTES_MAX - 1, KEY_BYTES_MAX].map(|n| vec![b'k'; n]))
    .collect();
    save_and_find_again(subject, keys.iter().map(|key| id("p", key)).collect())
}

pub(super) fn prototypes_of_any_name_are_distinct(subject: &mut Subject) -> Checked {
    let long = "n".repeat(200);
    let shorter = "n".repeat(199);
    let names = [
        ".",
        "..",
        "/",
        "../..",
        "a/b",
        "a",
        "A",
        "a ",
        "a];[b",
        "lock",
        "temp",
        "CON",
        "é",
        "e\u{301}",
        "цех",
        "\u{202E}rtl",
        &long,
        &shorter,
    ];
    let ids = names.iter().flat_map(|name| ["", "k", "b/k"].map(|key| id(name, key)));
    save_and_find_again(subject, ids.collect())
}

fn save_and_find_again(subject: &Subject, ids: Vec<CheckpointId>) -> Checked {
    let records: Vec<_> = (1..)
        .zip(&ids)
        .map(|(n, id)| record(id, StateVersion::new(1, n), &n.to_le_bytes()))
        .collect();
    subject.store_all(&records)?;
    for (id, saved) in ids.iter().zip(&records) {
        subject.expect(id, Some(saved))?;
    }
    let mut prototypes: Vec<&str> = ids.iter().map(CheckpointId::prototype).collect();
    prototypes.dedup();
    for prototype in prototypes {
        let of_it = ids.iter().filter(|id| id.prototype() == prototype);
        subject.expect_ids(prototype, of_it.cloned().collect())?;
    }
    Ok(())
}
