//! Dictionaries of zstd: what they are worth, and what is none.

use super::*;

fn samples() -> Vec<String> {
    (0..2_000).map(|n| format!("name: user {n}; street: {} Long Street", n * 7)).collect()
}

fn dictionary() -> ZstdDictionary {
    ZstdDictionary::train(&samples(), 4_096).unwrap()
}

#[test]
fn a_dictionary_makes_small_states_small_and_is_named_in_the_record() {
    let compression = Compression::Zstd { level: 3 };
    let dictionary = dictionary();
    let with = Sealing::new(compression).with_dictionary(Some(&dictionary));
    let payload = b"name: user 31415; street: 92653 Long Street name: user 27; street: 18 Long";
    let sealed = seal(&with, payload);
    assert!(sealed.len() < seal(&Sealing::default(), payload).len());
    assert!(sealed.len() < seal(&Sealing::new(compression), payload).len());
    assert_eq!(open(&with, &sealed).unwrap(), payload);
    let without = Sealing::new(compression);
    let view = RecordView::parse(&sealed).unwrap();
    assert!(with.has_sealed(view.header()) && !without.has_sealed(view.header()));
    let missing = UnsealError::MissingDictionary { dictionary: dictionary.id() };
    assert_eq!(open(&without, &sealed).unwrap_err(), missing);
    without.add_dictionary(&dictionary);
    assert_eq!(open(&without, &sealed).unwrap(), payload);
}

#[test]
fn dictionaries_at_hand_are_bounded_and_the_own_one_stays() {
    let own = dictionary();
    let sealing = Sealing::new(Compression::Zstd { level: 1 }).with_dictionary(Some(&own));
    for n in 0..100_u32 {
        let other = format!("{n} is what they have in common").into_bytes();
        sealing.add_dictionary(&ZstdDictionary::new(other).unwrap());
    }
    let payload = b"name: user 31415; street: 92653 Long Street name: user 27; street: 18 Long";
    assert!(RecordView::parse(&seal(&sealing, payload)).unwrap().header().is_compressed());
    assert_eq!(open(&sealing, &seal(&sealing, payload)).unwrap(), payload);
}

#[test]
fn what_is_no_dictionary_is_refused() {
    let refused = |bytes: Vec<u8>| ZstdDictionary::new(bytes).unwrap_err().to_string();
    assert!(refused(vec![]).contains("0 bytes"));
    assert!(refused(vec![0; DICTIONARY_BYTES_MAX + 1]).contains("524289"));
    // The magic number of a trained one, and nothing behind it.
    let magic = 0xEC30_A437_u32.to_le_bytes();
    let error = ZstdDictionary::new([&magic[..], &[0xFF; 100]].concat());
    assert!(matches!(error, Err(InvalidDictionary::Refused(_))), "{error:?}");
    let none: [&[u8]; 0] = [];
    let error = ZstdDictionary::train(&none, 4_096);
    assert!(matches!(error, Err(InvalidDictionary::Samples(_))), "{error:?}");
    let error = ZstdDictionary::train(&samples(), DICTIONARY_BYTES_MAX + 1);
    assert!(matches!(error, Err(InvalidDictionary::Length { .. })), "{error:?}");
    assert!(!format!("{:?}", dictionary()).contains("street"));
}
