//! Reads a segment from its first batch to its last, and tells damage from a torn end.

use std::io;

use crate::record::{RecordHeader, RecordView};
use crate::storage::log::layout::{
    BATCH_MAGIC, BATCH_RECORDS_MAX, BatchHead, BatchKind, HeadError, Listed, SEGMENT_HEAD_BYTES,
    SegmentHead, id_hash,
};
use crate::storage::log::manifest;
use crate::storage::log::segment::Segment;

/// What is read at once where a head is looked for.
const CHUNK_BYTES: usize = 64 << 10;
/// The fixed part of a batch's head, in which its count is.
const COUNT_WITHIN: usize = BatchHead::bytes_of(0);

/// Something that a segment holds.
pub(super) enum Found<'a> {
    /// A whole record.
    Record { header: RecordHeader<'a>, offset: u64, record: &'a [u8] },
    /// A record that is damaged; which one it was is known by its hash only.
    DamagedRecord { offset: u64, listed: Listed },
    /// The head of the segment or of a batch is damaged, which hides nothing of what follows.
    DamagedHead { offset: u64 },
    /// Bytes of which nothing is known, not even whose they were.
    Unknown { offset: u64, bytes: u64 },
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct End {
    /// Behind the last whole batch of records.
    pub(super) valid_bytes: u64,
    /// Where the first batch begins that is not known to be durable, if there is one.
    pub(super) in_doubt_from: Option<u64>,
    /// Whether the segment ends with the mark of a store that was closed in good order.
    pub(super) is_closed: bool,
    /// Bytes behind the last whole batch.
    pub(super) cut_bytes: u64,
    /// How many records those would have been, as far as it is known.
    pub(super) cut_records: u64,
}

/// Why a segment cannot be read at all.
#[derive(Debug)]
pub(super) enum ScanError {
    Io(io::Error),
    Head(HeadError),
}

impl From<io::Error> for ScanError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// Reads what is in a segment, in order.
///
/// Nothing counts behind `valid_bytes`, if they are given. What is not whole is damaged if it is
/// within the durable bytes, or if a batch behind it says that it had been durable when that one
/// was written (rule 4.14); else it is the end of the segment.
pub(super) fn scan(
    segment: &Segment,
    expected: SegmentHead,
    listed: manifest::Listed,
    found: &mut dyn FnMut(Found<'_>),
) -> Result<End, ScanError> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let read = segment.read(&mut head, 0)?;
    let parsed = match SegmentHead::parse(head.get(..read).unwrap_or_default()) {
        Ok(head) => Some(head),
        Err(HeadError::Damaged) => None,
        Err(err) => return Err(ScanError::Head(err)),
    };
    if parsed != Some(expected) {
        // What follows has checksums of its own, salted with what should stand here.
        found(Found::DamagedHead { offset: 0 });
    }
    let file_bytes = segment.file_bytes()?;
    let mut scan = Scan {
        segment,
        salt: expected.salt(),
        limit: listed.valid_bytes.unwrap_or(file_bytes).min(file_bytes),
        durable_bytes: listed.durable_bytes,
        synced: SEGMENT_HEAD_BYTES as u64,
        found,
    };
    let mut end = scan.run()?;
    if end.cut_bytes > 0 && parsed.is_some_and(|head| head != expected) {
        // Nothing is torn: it is another segment, and what was here is gone.
        let (offset, bytes) = (end.valid_bytes, end.cut_bytes);
        (scan.found)(Found::Unknown { offset, bytes });
        end = End { valid_bytes: offset + bytes, ..End::default() };
    }
    if file_bytes < listed.durable_bytes {
        let bytes = listed.durable_bytes - file_bytes;
        (scan.found)(Found::Unknown { offset: file_bytes, bytes });
    }
    Ok(end)
}

struct Scan<'a> {
    segment: &'a Segment,
    salt: u32,
    limit: u64,
    durable_bytes: u64,
    /// Up to where the batches are durable, as far as those behind them say.
    synced: u64,
    found: &'a mut dyn FnMut(Found<'_>),
}

impl Scan<'_> {
    fn run(&mut self) -> io::Result<End> {
        let end = self.read_batches()?;
        let in_doubt_from = Some(self.synced.max(self.durable_bytes));
        Ok(End { in_doubt_from: in_doubt_from.filter(|from| *from < end.valid_bytes), ..end })
    }

    fn read_batches(&mut self) -> io::Result<End> {
        let mut end = End { valid_bytes: SEGMENT_HEAD_BYTES as u64, ..End::default() };
        while end.valid_bytes < self.limit {
            let at = end.valid_bytes;
            match self.head_at(at)? {
                Some(head) if head.end() <= self.limit => {
                    let records = self.read(at + head.head_bytes() as u64, head.records_bytes())?;
                    let is_whole = self.is_whole(&head, &records);
                    if !is_whole && !self.was_durable(at, head.end())? {
                        return self.cut(end, Some(&head));
                    }
                    self.tell(&head, &records);
                    self.synced = self.synced.max(head.synced);
                    if !is_whole {
                        // What is damaged stays where it is, and so does what lies before it.
                        self.synced = self.synced.max(head.end());
                    }
                    if head.kind == BatchKind::End {
                        // It is not known to be durable itself, and not needed any more.
                        return Ok(End { is_closed: true, ..end });
                    }
                    end.valid_bytes = head.end();
                }
                head => {
                    if !self.was_durable(at, at + 1)? {
                        return self.cut(end, head.as_ref());
                    }
                    let until = self.next_head(at + 1)?.map_or(self.limit, |next| next.offset);
                    self.tell_without_head(at, until)?;
                    end.valid_bytes = until;
                    self.synced = until;
                }
            }
        }
        Ok(end)
    }

    /// The end of a segment behind which something is torn, of which the head may be there.
    fn cut(&mut self, end: End, torn: Option<&BatchHead>) -> io::Result<End> {
        let at = end.valid_bytes;
        let cut_bytes = self.limit - at;
        let mut cut_records = torn.map_or(0, |head| head.listed.len() as u64);
        // Whoever wrote it knew how much before it was durable.
        self.synced = self.synced.max(torn.map_or(0, |head| head.synced));
        // The next one may have been written already.
        let mut from = torn.map_or(at + 1, BatchHead::end);
        while let Some(head) = self.next_head(from)? {
            cut_records += head.listed.len() as u64;
            from = head.end();
        }
        Ok(End { is_closed: false, cut_bytes, cut_records, ..end })
    }

    fn read(&self, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::new();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        buffer.try_reserve_exact(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        buffer.resize(bytes, 0);
        let read = self.segment.read(&mut buffer, offset)?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// The head of the batch that begins at `at`, if there is one.
    fn head_at(&self, at: u64) -> io::Result<Option<BatchHead>> {
        let mut fixed = [0; COUNT_WITHIN];
        let read = self.segment.read(&mut fixed, at)?;
        let Some(records) = BatchHead::count_in(fixed.get(..read).unwrap_or_default()) else {
            return Ok(None);
        };
        if records > BATCH_RECORDS_MAX || at + BatchHead::bytes_of(records) as u64 > self.limit {
            return Ok(None);
        }
        let bytes = self.read(at, BatchHead::bytes_of(records) as u64)?;
        Ok(BatchHead::parse(&bytes, self.salt, at))
    }

    /// Looks for the head of a batch from `from` on.
    fn next_head(&self, from: u64) -> io::Result<Option<BatchHead>> {
        let mut at = from;
        while at < self.limit {
            let chunk = self.read(at, (self.limit - at).min(CHUNK_BYTES as u64))?;
            let magics = chunk.windows(BATCH_MAGIC.len()).enumerate();
            for (behind, _) in magics.filter(|(_, bytes)| *bytes == BATCH_MAGIC) {
                if let Some(head) = self.head_at(at + behind as u64)? {
                    return Ok(Some(head));
                }
            }
            // The next chunk begins with the last bytes of this one: a magic may lie across.
            let step = chunk.len().saturating_sub(BATCH_MAGIC.len() - 1);
            if step == 0 || at + chunk.len() as u64 >= self.limit {
                break;
            }
            at += step as u64;
        }
        Ok(None)
    }

    /// Whether damage from `at` on is none of a torn write: some batch from `behind` on says so.
    /// The next one was written while this one was being synced, as a rule, and does not know.
    fn was_durable(&self, at: u64, behind: u64) -> io::Result<bool> {
        if at < self.durable_bytes {
            return Ok(true);
        }
        let mut from = behind;
        while let Some(next) = self.next_head(from)? {
            if next.synced > at {
                return Ok(true);
            }
            from = next.end();
        }
        Ok(false)
    }

    fn is_whole(&self, head: &BatchHead, records: &[u8]) -> bool {
        records_of(head, records).all(|(_, _, record)| record.is_some())
    }

    fn tell(&mut self, head: &BatchHead, records: &[u8]) {
        for (offset, listed, record) in records_of(head, records) {
            (self.found)(match record {
                Some((header, record)) => Found::Record { header, offset, record },
                None => Found::DamagedRecord { offset, listed },
            });
        }
    }

    /// Tells of the batch between `at` and `until`, whose head is damaged.
    ///
    /// Its records are believed if they fill the space, and there are as many as the length of the
    /// head says: what lies in a payload and looks like a record is not taken for one.
    fn tell_without_head(&mut self, at: u64, until: u64) -> io::Result<()> {
        let bytes = self.read(at, until - at)?;
        for records in 1.. {
            let start = BatchHead::bytes_of(records);
            let Some(chain) = bytes.get(start..).filter(|chain| !chain.is_empty()) else { break };
            let Some(headers) = chain_of(chain, records) else { continue };
            (self.found)(Found::DamagedHead { offset: at });
            let mut rest = chain;
            let mut offset = at + start as u64;
            for header in headers {
                let Some((record, behind)) = rest.split_at_checked(header.record_bytes()) else {
                    unreachable!("it was read from there")
                };
                (self.found)(Found::Record { header, offset, record });
                offset += record.len() as u64;
                rest = behind;
            }
            return Ok(());
        }
        (self.found)(Found::Unknown { offset: at, bytes: until - at });
        Ok(())
    }
}

/// The records of a batch: where each lies, what is listed of it, and itself if it is whole.
fn records_of<'a>(
    head: &'a BatchHead,
    records: &'a [u8],
) -> impl Iterator<Item = (u64, Listed, Option<(RecordHeader<'a>, &'a [u8])>)> + 'a {
    let start = head.offset + head.head_bytes() as u64;
    head.places().map(move |(offset, listed)| {
        let at = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let end = at.saturating_add(listed.record_bytes as usize);
        let whole = records.get(at..end).and_then(|record| {
            let header = RecordView::parse(record).ok()?.header().clone();
            (id_hash(header.id) == listed.id_hash).then_some((header, record))
        });
        (offset, listed, whole)
    })
}

/// The headers of the records that `bytes` are made of, if they are so many and all whole.
fn chain_of(mut bytes: &[u8], records: usize) -> Option<Vec<RecordHeader<'_>>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        if headers.len() == records {
            return None;
        }
        let (record, rest) = RecordView::parse_prefix(bytes).ok()?;
        headers.push(record.header().clone());
        bytes = rest;
    }
    (headers.len() == records).then_some(headers)
}
