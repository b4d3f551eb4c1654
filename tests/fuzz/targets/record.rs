//! Reads bytes as a record, as they are and with their checksums made right: an error inside of the
//! bytes, or a record that is written again to the same.

#![no_main]

use checkpoint::{RecordHeader, RecordMeta, RecordView, RecordWriter};
use checkpoint_fuzz::sealed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some(sealed) = sealed(bytes) {
        check(&sealed);
    }
});

fn check(bytes: &[u8]) {
    let header = RecordHeader::parse(bytes);
    let prefix = RecordView::parse_prefix(bytes);
    let whole = RecordView::parse(bytes);
    for err in [header.as_ref().err(), prefix.as_ref().err(), whole.as_ref().err()] {
        assert!(err.is_none_or(|err| err.offset() <= bytes.len()), "{err:?}");
    }
    let Ok((view, rest)) = prefix else {
        assert!(whole.is_err());
        return;
    };
    assert_eq!(header.as_ref().ok(), Some(view.header()));
    assert_eq!(whole.is_ok(), rest.is_empty());
    let header = view.header();
    assert_eq!(header.record_bytes() + rest.len(), bytes.len());
    let meta = RecordMeta {
        kind: header.kind,
        partition: header.partition,
        version: header.version,
        event_count: header.event_count,
        captured_at: header.captured_at,
        idle: header.idle,
        fingerprint: header.fingerprint,
        positions: &header.positions,
    };
    let mut again = Vec::new();
    let writer = RecordWriter::begin(&mut again, header.id, &meta);
    again.extend_from_slice(view.payload());
    writer.finish(&mut again);
    match RecordView::parse(&again).and_then(|again| again.of(header.id)) {
        Ok(found) => {
            assert_eq!(found.payload(), view.payload());
            let found = found.header();
            assert_eq!((found.kind, found.partition), (header.kind, header.partition));
            assert_eq!((found.version, found.idle), (header.version, header.idle));
            assert_eq!(found.captured_at, header.captured_at);
            assert_eq!(found.event_count, header.event_count);
            assert_eq!(found.fingerprint, header.fingerprint);
            assert_eq!(found.positions, header.positions);
        }
        Err(err) => panic!("read, but cannot be read again: {err}"),
    }
}
