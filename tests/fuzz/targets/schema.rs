//! Reads bytes as the descriptions of two schemas, prints them and compares them.

#![no_main]

use checkpoint::SchemaDescription;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, bytes)) = bytes.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(length).min(bytes.len()));
    let (Some(first), second) = (check(first), check(second)) else { return };
    if let Some(second) = second {
        let differences = first.differences(&second);
        assert!(differences.len() <= 100);
        assert_eq!(differences.is_empty(), second.differences(&first).is_empty());
        if first == second {
            assert_eq!(first.fingerprint(), second.fingerprint());
            assert!(differences.is_empty());
        }
    }
});

fn check(bytes: &[u8]) -> Option<SchemaDescription> {
    match SchemaDescription::from_bytes(bytes) {
        Ok(description) => {
            assert_eq!(description.to_bytes(), bytes);
            assert!(description.differences(&description).is_empty());
            // Whatever it stands for, an error's text stays one that can be read.
            assert!(description.to_string().len() < (1 << 20) + 4_000 * bytes.len());
            Some(description)
        }
        Err(err) => {
            assert!(err.offset() <= bytes.len(), "{err}");
            None
        }
    }
}
