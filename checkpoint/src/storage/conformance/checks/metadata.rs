//! Metadata: conditional puts, names, limits.

use crate::storage::conformance::checks::id;
use crate::storage::conformance::client::Checked;
use crate::storage::conformance::records::record;
use crate::storage::conformance::subject::Subject;
use crate::storage::{
    METADATA_BYTES_MAX, METADATA_NAME_BYTES_MAX, Metadata, MetadataVersion, StorageErrorKind,
};

pub(super) fn a_value_is_put_only_over_the_expected_version(subject: &mut Subject) -> Checked {
    expect_value(subject, "name", None)?;
    expect_conflict(subject, "name", Some(MetadataVersion(1)))?;
    expect_value(subject, "name", None)?;
    let first = put(subject, "name", None, b"first")?;
    expect_conflict(subject, "name", None)?;
    let second = put(subject, "name", Some(first), b"second")?;
    if second <= first {
        return subject.fails("putting again", &format!("above {first:?}"), format!("{second:?}"));
    }
    expect_conflict(subject, "name", Some(first))?;
    expect_conflict(subject, "name", None)?;
    let expected = Metadata { version: second, bytes: b"second".to_vec() };
    expect_value(subject, "name", Some(expected))
}

pub(super) fn values_of_any_name_are_distinct_and_no_ids(subject: &mut Subject) -> Checked {
    let long = "n".repeat(METADATA_NAME_BYTES_MAX);
    let names = ["p", "P", "p/k", "../p", ".", "..", "\0", "a b", "é", "e\u{301}", "61", &long];
    let state = record(&id("p", "k"), crate::record::StateVersion::new(1, 1), b"state");
    subject.store(&state)?;
    let mut versions = Vec::new();
    for name in names {
        versions.push(put(subject, name, None, name.as_bytes())?);
    }
    for (name, version) in names.into_iter().zip(versions) {
        let bytes = name.as_bytes().to_vec();
        expect_value(subject, name, Some(Metadata { version, bytes }))?;
        if name != "p" && !name.contains('\0') {
            subject.expect_ids(name, Vec::new())?;
        }
    }
    subject.expect_ids("p", vec![id("p", "k")])?;
    subject.expect(&id("p", "k"), Some(&state))
}

pub(super) fn limits_of_names_and_values_hold(subject: &mut Subject) -> Checked {
    let largest = vec![7; METADATA_BYTES_MAX];
    let version = put(subject, "large", None, &largest)?;
    expect_value(subject, "large", Some(Metadata { version, bytes: largest }))?;
    put(subject, "empty", None, b"")?;
    let too_long = "n".repeat(METADATA_NAME_BYTES_MAX + 1);
    let too_large = vec![7; METADATA_BYTES_MAX + 1];
    for (name, bytes) in [("", &b"x"[..]), (&too_long, b"x"), ("too large", &too_large)] {
        if let Ok(found) = subject.put_metadata(name, None, bytes) {
            let what = format!("putting {} bytes under a name of {}", bytes.len(), name.len());
            return subject.fails(&what, "an error", format!("{found:?}"));
        }
    }
    Ok(())
}

pub(super) fn put(
    subject: &Subject,
    name: &str,
    expected: Option<MetadataVersion>,
    bytes: &[u8],
) -> Checked<MetadataVersion> {
    let put = subject.put_metadata(name, expected, bytes);
    subject.succeeds(&format!("putting metadata {name:?}"), put)
}

fn expect_conflict(subject: &Subject, name: &str, expected: Option<MetadataVersion>) -> Checked {
    match subject.put_metadata(name, expected, b"refused") {
        Err(err) if err.kind() == StorageErrorKind::Conflict => Ok(()),
        found => {
            let what = format!("putting metadata over {expected:?}");
            subject.fails(&what, "Conflict", format!("{found:?}"))
        }
    }
}

pub(super) fn expect_value(subject: &Subject, name: &str, expected: Option<Metadata>) -> Checked {
    let found = subject.metadata(name)?;
    if found == expected {
        return Ok(());
    }
    // Values can have a mebibyte.
    let show = |value: Option<Metadata>| match value {
        Some(value) => format!(
            "version {}, {} bytes, CRC {:08x}",
            value.version.0,
            value.bytes.len(),
            crc32c::crc32c(&value.bytes)
        ),
        None => "none".to_owned(),
    };
    subject.fails(&format!("reading metadata {name:?}"), &show(expected), show(found))
}
