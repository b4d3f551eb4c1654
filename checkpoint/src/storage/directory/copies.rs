//! Two copies of a record in one file: a changed byte or a lost sector damages one of them.
//!
//! They are in one file, so that both are replaced in the same instant: no crash leaves them of
//! different times. Specified in `checkpoint/FORMAT.md`. Nothing here reads or writes a file.

use crate::checkpoint_id::CheckpointIdRef;
use crate::record::{RECORD_FIXED_BYTES, RecordError, RecordErrorKind, RecordView};
use crate::storage::directory::error::is_unsupported;

/// What a disk loses at once is no larger: no sector has bytes of both copies.
const SECTOR_BYTES: usize = 4096;

/// How the copies of a record were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Copies {
    /// Both are as they were written.
    Both,
    /// There is one only: that is how files were written before they had two.
    One,
    /// One is whole; within these bytes the file is not as it was written.
    Damaged { offset: u64, bytes: u64 },
}

/// Returns the content of a file that has `record` twice.
pub(in crate::storage) fn twice(mut record: Vec<u8>) -> Vec<u8> {
    record.resize(record.len().next_multiple_of(SECTOR_BYTES), 0);
    record.extend_from_within(..);
    record
}

/// Returns what a file is to be that has these bytes: as they are, if no copy in it is whole.
pub(in crate::storage) fn mended(file: Vec<u8>) -> Vec<u8> {
    match whole_record(&file, |_| true) {
        Ok((_, record)) => twice(record.to_vec()),
        Err(_) => file,
    }
}

/// Finds the record of which a file has copies, if one of them is whole, and of an id that is the
/// right one.
pub(in crate::storage) fn find(
    file: &[u8],
    is_right: impl Fn(CheckpointIdRef<'_>) -> bool,
) -> Result<(RecordView<'_>, Copies), RecordError> {
    let (view, record) = whole_record(file, is_right)?;
    Ok((view, compare(file, record)))
}

/// The copy that counts, and its bytes.
fn whole_record(
    file: &[u8],
    is_right: impl Fn(CheckpointIdRef<'_>) -> bool,
) -> Result<(RecordView<'_>, &[u8]), RecordError> {
    let whole = |bytes| {
        let (view, behind) = RecordView::parse_prefix(bytes)?;
        if !is_right(view.header().id) {
            return Err(RecordError::new(RecordErrorKind::WrongId, RECORD_FIXED_BYTES));
        }
        let record_bytes = bytes.len() - behind.len();
        Ok((view, bytes.get(..record_bytes).unwrap_or_default()))
    };
    let has_two = file.len().is_multiple_of(2 * SECTOR_BYTES);
    let half = file.get(file.len() / 2..).filter(|_| has_two);
    match (whole(file), half.map(whole)) {
        (Ok(first), Some(Ok(second))) => {
            let number = |view: &RecordView<'_>| view.header().version;
            if number(&first.0) == number(&second.0) && first.0.payload() != second.0.payload() {
                // Nobody can say which of the two it is.
                return Err(RecordError::new(RecordErrorKind::Header, file.len() / 2));
            }
            // They are written as one: one that is older is of another time, and no use.
            Ok(if number(&second.0) > number(&first.0) { second } else { first })
        }
        (Ok(found), _) | (Err(_), Some(Ok(found))) => Ok(found),
        // What a newer library wrote is so in both; a changed version byte is damage.
        (Err(first), Some(Err(second))) if is_unsupported(&first) => Err(second),
        (Err(first), _) => Err(first),
    }
}

fn compare(file: &[u8], record: &[u8]) -> Copies {
    if file == record {
        return Copies::One;
    }
    let written = twice(record.to_vec());
    let is_different = |at: &usize| file.get(*at) != written.get(*at);
    let places = 0..file.len().max(written.len());
    match (places.clone().find(is_different), places.rev().find(is_different)) {
        (Some(first), Some(last)) => {
            Copies::Damaged { offset: first as u64, bytes: (last + 1 - first) as u64 }
        }
        _ => Copies::Both,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::record::{InputPositions, RecordKind, RecordMeta, RecordWriter, StateVersion};

    const ID: CheckpointIdRef<'_> = CheckpointIdRef { prototype: "\u{1}own", key: b"k" };

    fn record(number: u64, payload: &[u8]) -> Vec<u8> {
        let meta = RecordMeta {
            kind: RecordKind::State,
            partition: 0,
            version: StateVersion::new(0, number),
            event_count: 0,
            captured_at: UNIX_EPOCH,
            idle: Duration::ZERO,
            fingerprint: 0,
            positions: &InputPositions::default(),
        };
        let mut bytes = Vec::new();
        let writer = RecordWriter::begin(&mut bytes, ID, &meta);
        bytes.extend_from_slice(payload);
        writer.finish(&mut bytes);
        bytes
    }

    /// The payload that is found, and how.
    fn found(file: &[u8]) -> Result<(Vec<u8>, Copies), RecordErrorKind> {
        let (view, copies) = find(file, |id| id == ID).map_err(|err| err.kind())?;
        Ok((view.payload().to_vec(), copies))
    }

    #[test]
    fn two_copies_lie_in_sectors_of_their_own() {
        // A record has 81 bytes besides its payload.
        for (payload, sectors) in [(0, 2), (4096 - 81, 2), (4096 - 80, 4), (3 * 4096, 8)] {
            let file = twice(record(1, &vec![7; payload]));
            assert_eq!(file.len(), sectors * SECTOR_BYTES, "{payload}");
            assert_eq!(found(&file), Ok((vec![7; payload], Copies::Both)));
        }
    }

    #[test]
    fn a_changed_byte_is_told_by_its_place_and_hides_nothing() {
        let file = twice(record(1, b"payload"));
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1 << (at % 8);
            let copies = Copies::Damaged { offset: at as u64, bytes: 1 };
            assert_eq!(found(&changed), Ok((b"payload".to_vec(), copies)));
        }
    }

    #[test]
    fn a_lost_sector_hides_nothing() {
        let file = twice(record(1, &[7; 10_000]));
        for sector in 0..file.len() / SECTOR_BYTES {
            for fill in [0x00, 0xFF] {
                let mut changed = file.clone();
                changed[sector * SECTOR_BYTES..][..SECTOR_BYTES].fill(fill);
                let (payload, copies) = found(&changed).unwrap();
                assert_eq!(payload, [7; 10_000], "{sector}");
                assert!(matches!(copies, Copies::Damaged { .. }), "{sector}: {copies:?}");
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_longer_is_not_whole() {
        let file = twice(record(1, b"payload"));
        let record_bytes = record(1, b"payload").len();
        for length in (record_bytes + 1..file.len()).step_by(61) {
            let (payload, copies) = found(&file[..length]).unwrap();
            assert_eq!(payload, b"payload");
            assert!(matches!(copies, Copies::Damaged { .. }), "{length}: {copies:?}");
        }
        for length in 0..record_bytes {
            assert!(found(&file[..length]).is_err(), "{length}");
        }
        for more in [1, SECTOR_BYTES, file.len()] {
            let longer = [&file[..], &vec![0; more]].concat();
            assert!(matches!(found(&longer).unwrap().1, Copies::Damaged { .. }), "{more}");
        }
    }

    #[test]
    fn one_copy_is_read_as_it_was_written_before_there_were_two() {
        // Also where its length is one that two would have.
        for payload in [0, 100, 4096 - 81, 8192 - 81, 16_384 - 81] {
            let file = record(1, &vec![7; payload]);
            assert_eq!(found(&file), Ok((vec![7; payload], Copies::One)), "{payload}");
        }
    }

    #[test]
    fn the_newer_of_two_counts_and_of_equals_that_differ_none() {
        let halves = |first: &[u8], second: &[u8]| {
            let [first, second] = [first, second].map(|record| twice(record.to_vec()));
            [&first[..first.len() / 2], &second[..second.len() / 2]].concat()
        };
        let [older, newer] = [record(1, b"older"), record(2, b"newer")];
        for file in [halves(&older, &newer), halves(&newer, &older)] {
            let (payload, copies) = found(&file).unwrap();
            assert_eq!(payload, b"newer");
            assert!(matches!(copies, Copies::Damaged { .. }), "{copies:?}");
        }
        let another = record(2, b"other");
        assert_eq!(found(&halves(&newer, &another)), Err(RecordErrorKind::Header));
    }

    #[test]
    fn a_version_byte_is_that_of_a_newer_library_only_in_both() {
        let file = twice(record(1, b"payload"));
        let half = file.len() / 2;
        let mut newer = file.clone();
        newer[4] = 2;
        assert_eq!(found(&newer).unwrap().0, b"payload");
        newer[half + 4] = 2;
        let kind = RecordErrorKind::UnsupportedVersion { found: 2, max: 1 };
        assert_eq!(found(&newer), Err(kind));
        newer[half] = 0;
        assert_eq!(found(&newer), Err(RecordErrorKind::Magic));
        let other = find(&file, |_| false).map_err(|err| err.kind()).map(drop);
        assert_eq!(other, Err(RecordErrorKind::WrongId));
    }
}
