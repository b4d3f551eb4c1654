//! What the example programs share: a text that ships with them, its words, command lines, an
//! orderly end, and a storage that fails.

mod ending;
mod failing_storage;
mod texts;

use std::fmt;
use std::io::{self, BufRead};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{anyhow, bail};
use checkpoint::CheckpointingMode;
pub use ending::{End, Ending, tell};
pub use failing_storage::FailingStorage;
pub use texts::{Text, Texts};

/// *Pride and Prejudice* by Jane Austen (1813), in the program itself so that it runs from
/// anywhere.
pub const PRIDE_AND_PREJUDICE: &[u8] = include_bytes!("data/pride_and_prejudice.txt");

/// The words of a text: its maximal runs of `[A-Za-z]`, in lower case.
///
/// Any other byte ends a word, so that every input has words, also one that is not UTF-8.
#[derive(Debug)]
pub struct Words<R> {
    text: R,
    word: String,
    offset: u64,
}

impl<R: BufRead> Words<R> {
    /// Reads the words of `text`.
    pub const fn new(text: R) -> Self {
        Self::new_at(text, 0)
    }

    /// Reads the words of `text`, which is what follows of a longer one behind so many bytes.
    pub const fn new_at(text: R, offset: u64) -> Self {
        Self { text, word: String::new(), offset }
    }

    /// Returns the next word, and where it ends: how many bytes of the text are read then. Reading
    /// can begin anew there.
    ///
    /// # Errors
    /// As [`next_word`](Self::next_word).
    pub fn next_word_at(&mut self) -> io::Result<Option<(&str, u64)>> {
        if self.next_word()?.is_none() {
            return Ok(None);
        }
        Ok(Some((&self.word, self.offset)))
    }

    /// Returns the next word, or `None` at the end.
    ///
    /// The word is lent and not given, so that a run over a long text allocates nothing per word.
    ///
    /// # Errors
    /// Whatever reading the text fails with. The words before the failure have been returned.
    pub fn next_word(&mut self) -> io::Result<Option<&str>> {
        self.word.clear();
        loop {
            let bytes = match self.text.fill_buf() {
                Ok(bytes) => bytes,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            if bytes.is_empty() {
                return Ok((!self.word.is_empty()).then_some(self.word.as_str()));
            }
            let skipped = match self.word.is_empty() {
                true => bytes.iter().take_while(|byte| !byte.is_ascii_alphabetic()).count(),
                // The word goes on from the bytes read before: nothing may lie between its halves.
                false => 0,
            };
            let letters = bytes.iter().skip(skipped).take_while(|byte| byte.is_ascii_alphabetic());
            let before = self.word.len();
            self.word.extend(letters.map(|byte| char::from(byte.to_ascii_lowercase())));
            let used = skipped + self.word.len() - before;
            let is_whole = used < bytes.len();
            self.text.consume(used);
            self.offset += used as u64;
            if is_whole && !self.word.is_empty() {
                return Ok(Some(&self.word));
            }
        }
    }
}

/// Reads a mode as it stands on a command line: `none`, `count:EVENTS` or `time:MILLISECONDS`.
///
/// # Errors
/// It is none of these, or a number is missing or zero.
pub fn parse_mode(text: &str) -> anyhow::Result<CheckpointingMode> {
    match text.split_once(':') {
        None if text == "none" => Ok(CheckpointingMode::None),
        Some(("count", events)) => match events.parse() {
            Ok(events) => Ok(CheckpointingMode::EventCount(events)),
            Err(err) => bail!("`{events}` is no count of events: {err}"),
        },
        Some(("time", millis)) => match millis.parse::<NonZeroU64>() {
            Ok(millis) => Ok(CheckpointingMode::Time(Duration::from_millis(millis.get()))),
            Err(err) => bail!("`{millis}` is no number of milliseconds: {err}"),
        },
        _ => bail!("no such mode: known are none, count:EVENTS and time:MILLISECONDS"),
    }
}

/// Returns the value of `--name`, which `arguments` has just come to, as `parse` reads it.
///
/// # Errors
/// There is no value, or `parse` refuses it; the error names the option and the value.
pub fn option_value<T, E: fmt::Display>(
    arguments: &mut lexopt::Parser,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> anyhow::Result<T> {
    let text = arguments.value()?.to_string_lossy().into_owned();
    parse(&text).map_err(|err| anyhow!("--{name} {text}: {err}"))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Splits `text` with read-ahead buffers of all sizes up to its own.
    #[track_caller]
    fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
        let text = text.as_ref();
        for buffer_bytes in 1..=text.len().min(64) + 1 {
            let mut words = Words::new(BufReader::with_capacity(buffer_bytes, text));
            let mut found = Vec::new();
            while let Some((word, end)) = words.next_word_at().unwrap() {
                let at = usize::try_from(end).unwrap();
                assert!(text[..at].to_ascii_lowercase().ends_with(word.as_bytes()));
                found.push(word.to_owned());
                let mut rest = Words::new_at(&text[at..], end);
                assert_eq!(rest.next_word().unwrap(), expected.get(found.len()).copied());
            }
            assert_eq!(found, expected, "with a buffer of {buffer_bytes} bytes");
        }
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        check("To be, or NOT to be:\r\nthat", &["to", "be", "or", "not", "to", "be", "that"]);
    }

    #[test]
    fn a_text_may_be_empty_or_hold_no_word() {
        check("", &[]);
        check(" 12,\n_--_\0", &[]);
    }

    #[test]
    fn an_apostrophe_a_digit_and_an_underscore_end_a_word() {
        check("don't b4 _so_ well-known", &["don", "t", "b", "so", "well", "known"]);
    }

    #[test]
    fn bytes_beyond_ascii_end_a_word() {
        check("naïve — Ünal", &["na", "ve", "nal"]);
        check(b"ab\xff\xfecd\x80", &["ab", "cd"]);
    }

    #[test]
    fn letters_are_only_the_fifty_two() {
        check("@AZ[`az{", &["az", "az"]);
    }

    #[test]
    fn a_word_may_be_longer_than_any_buffer() {
        let long = "Long".repeat(50_000);
        check(format!("a {long} b"), &["a", &long.to_lowercase(), "b"]);
    }

    #[test]
    fn a_failing_text_fails_after_its_words() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let mut words = Words::new(BufReader::new(io::Read::chain(&b"one two"[..], Broken)));
        assert_eq!(words.next_word().unwrap(), Some("one"));
        assert_eq!(words.next_word().unwrap_err().to_string(), "the disk is gone");
    }

    #[test]
    fn the_text_that_ships_is_as_long_as_promised() {
        let mut words = Words::new(PRIDE_AND_PREJUDICE);
        let mut count = 0;
        while words.next_word().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 122_817);
    }

    #[test]
    fn a_mode_is_read() {
        let events = NonZeroU64::new(7).unwrap();
        assert_eq!(parse_mode("none").unwrap(), CheckpointingMode::None);
        assert_eq!(parse_mode("count:7").unwrap(), CheckpointingMode::EventCount(events));
        let millis = Duration::from_millis(7);
        assert_eq!(parse_mode("time:7").unwrap(), CheckpointingMode::Time(millis));
    }

    #[test]
    fn a_mode_that_is_none_is_refused_with_what_is_wrong() {
        for (text, part) in [
            ("", "no such mode"),
            ("sometimes", "count:EVENTS"),
            ("none:1", "no such mode"),
            ("count", "no such mode"),
            ("count:", "`` is no count"),
            ("count:0", "`0` is no count"),
            ("count:-1", "`-1` is no count"),
            ("time:1s", "`1s` is no number of milliseconds"),
            ("time:0", "`0` is no number"),
        ] {
            let error = parse_mode(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
