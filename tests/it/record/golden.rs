//! Files of every version of the format, which are never rewritten, only added to.

use std::fs;
use std::path::PathBuf;

use checkpoint::RecordView;

use super::samples;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/record/v1")
}

#[test]
fn golden_records_are_read_and_written_as_ever() {
    for sample in samples() {
        let path = directory().join(format!("{}.ckp", sample.name));
        if !path.exists() && std::env::var_os("CHECKPOINT_GOLDEN").is_some() {
            // Only what is missing: a file that is there is right, whatever the code says.
            fs::write(&path, sample.write()).unwrap();
        }
        let golden = fs::read(&path).unwrap_or_else(|err| {
            panic!("{}: {err}; set CHECKPOINT_GOLDEN=1 to add missing files", path.display())
        });
        let view = RecordView::parse(&golden).unwrap();
        let header = view.header();
        assert_eq!(header.id, sample.id.as_ref(), "{}", sample.name);
        assert_eq!(header.kind, sample.kind, "{}", sample.name);
        assert_eq!(header.partition, sample.partition, "{}", sample.name);
        assert_eq!(header.version, sample.version, "{}", sample.name);
        assert_eq!(header.event_count, sample.event_count, "{}", sample.name);
        assert_eq!(header.captured_at, sample.captured_at, "{}", sample.name);
        assert_eq!(header.idle, sample.idle, "{}", sample.name);
        assert_eq!(header.fingerprint, sample.fingerprint, "{}", sample.name);
        assert_eq!(header.positions, sample.positions(), "{}", sample.name);
        assert_eq!(view.payload(), sample.payload, "{}", sample.name);
        assert_eq!(sample.write(), golden, "{}: written otherwise today", sample.name);
    }
}

#[test]
fn every_golden_file_has_its_sample() {
    let mut files: Vec<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected: Vec<_> = samples().iter().map(|s| format!("{}.ckp", s.name)).collect();
    expected.sort();
    assert_eq!(files, expected);
}
