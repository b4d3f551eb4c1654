//! A segment that is open to be read.

use std::fmt;
use std::io;

use crate::file_ops::{FileHandle, FileOps};

/// The directory of segments.
pub(super) const SEGMENTS: &str = "segments";

/// Returns the path of a segment.
pub(super) fn segment_path(number: u32) -> String {
    format!("{SEGMENTS}/{number:08x}")
}

/// Returns the number of the segment that has this name in its directory.
pub(super) fn parse_segment_name(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name, 16).ok()?;
    (format!("{number:08x}") == name).then_some(number)
}

/// A segment that is open to be read, from as many threads as like.
pub(super) struct Segment {
    pub(super) number: u32,
    file: Box<dyn FileHandle>,
}

impl Segment {
    pub(super) fn open(files: &dyn FileOps, number: u32) -> io::Result<Self> {
        Ok(Self { number, file: files.open_file(&segment_path(number))? })
    }

    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        self.file.file_bytes()
    }

    /// Reads from `offset` on until the buffer is full or the file ends, and returns how much.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(free) = buffer.get_mut(filled..)
            && !free.is_empty()
        {
            match self.file.read_at(free, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(filled)
    }

    /// Reads so many bytes if that needs no waiting for the disk; else `None`.
    pub(super) fn read_now(&self, bytes: usize, offset: u64) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; bytes];
        let read = self.file.read_at_now(&mut buffer, offset)?;
        // What is read only in part is left to those who may wait for the rest.
        Ok((read == Some(bytes)).then_some(buffer))
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({:08x})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_those_of_segments() {
        assert_eq!(parse_segment_name("0000001f"), Some(31));
        for name in ["", "1f", "0000001F", "+000001f", "0000001f.hint", "00000000000000001"] {
            assert_eq!(parse_segment_name(name), None, "{name:?}");
        }
    }
}
