//! Ids are lossless and distinct whatever the key (T11, T12, X14, X16).

use checkpoint::{CheckpointId, RecordView, StateStorage};

use crate::support::{FAIL_SAFE, FaultyStorage, counted, counters, every, manual, settings};

#[test]
fn t11_what_was_saved_is_fetched_byte_for_byte() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let bytes = keeper
        .prototype::<String, Vec<u8>>("bytes")
        .config(every(1).build().unwrap())
        .create(|_| Vec::new())
        .build()
        .unwrap();
    let all: Vec<u8> = (0..=u8::MAX).collect();
    bytes.process("a", |pe| pe.clone_from(&all)).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let id = CheckpointId::new("bytes", "a").unwrap();
    let record = storage.content().fetch_now(&id).unwrap().unwrap().unwrap();
    let mut expected = 256_u64.to_le_bytes().to_vec();
    expected.extend(all);
    assert_eq!(RecordView::parse(&record).unwrap().payload(), expected);
}

#[test]
fn t12_after_ten_saves_exactly_those_ten_ids_are_listed() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    let other = counted(&keeper, "another", every(1));
    other.process("not this", |pe| pe.count += 1).unwrap();
    for key in 0..10 {
        prototype.process(&key.to_string(), |pe| pe.count += 1).unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();

    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    let expected: Vec<_> =
        (0..10).map(|key| CheckpointId::new("counter", key.to_string()).unwrap()).collect();
    assert_eq!(prototype.ids().unwrap(), expected);
    assert!(prototype.is_empty(), "listing restores nothing");
}

#[test]
fn x14_keys_of_any_content_are_distinct_and_restored() {
    let mut keys: Vec<Vec<u8>> =
        ["", " ", "a b", "a];[b", "a", "];[", "[a", "a/b", "a%20b", "..", "\0"]
            .map(|key| key.as_bytes().to_vec())
            .into();
    keys.push(vec![b'x'; 200]);
    keys.push(vec![b'x'; 201]);
    keys.push(vec![b'x'; 4096]);
    keys.push((0..=u8::MAX).collect());
    keys.extend((0..=u8::MAX).filter(|b| *b != b' ' && *b != b'a' && *b != 0).map(|b| vec![b]));
    let storage = FaultyStorage::new();
    for round in 1..=2_usize {
        let keeper = settings(&storage).build().unwrap();
        let prototype = keeper
            .prototype::<Vec<u8>, u64>("any")
            .config(manual().build().unwrap())
            .create(|_| 0)
            .build()
            .unwrap();
        for (index, key) in keys.iter().enumerate() {
            let value = (index + 1) as u64;
            let found = prototype.process(key, |pe| std::mem::replace(pe, value)).unwrap();
            assert_eq!(found, if round == 1 { 0 } else { value }, "{key:?}");
        }
        keeper.close(FAIL_SAFE).unwrap();
        let mut listed: Vec<Vec<u8>> = Vec::new();
        storage
            .content()
            .ids("any", &mut |id| {
                let text = id.to_text();
                assert_eq!(text.parse::<CheckpointId>().as_ref().ok(), Some(&id), "{text}");
                listed.push(id.key().to_vec());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        listed.sort();
        let mut expected = keys.clone();
        expected.sort();
        assert_eq!(listed, expected);
    }
}

#[test]
fn x16_two_prototypes_of_one_type_with_the_same_keys_are_distinct() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let (one, two) = (counted(&keeper, "one", every(1)), counted(&keeper, "two", every(1)));
    one.process("a", |pe| pe.count = 1).unwrap();
    two.process("a", |pe| pe.count = 2).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let keeper = settings(&storage).build().unwrap();
    let (two, one) = (counted(&keeper, "two", every(1)), counted(&keeper, "one", every(1)));
    assert_eq!(one.read("a", |pe| pe.count).unwrap(), 1);
    assert_eq!(two.read("a", |pe| pe.count).unwrap(), 2);
}
