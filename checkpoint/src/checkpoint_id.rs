//! Names a checkpoint: a prototype and a key.
//!
//! How the id is turned into a file name, an object name or a row is each storage's business.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The most bytes that a prototype's name may have.
pub const PROTOTYPE_NAME_BYTES_MAX: usize = 200;
/// The most bytes that a key may have.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// How many characters of a key `Display` shows.
const SHOWN_KEY_CHARS_MAX: usize = 64;

/// Names the checkpoint of one processing element: its prototype's name and its key.
///
/// The name is the user's (1 to 200 bytes of UTF-8 without control characters); the key is any 0 to
/// 65,536 bytes. Two ids are equal exactly if both parts are.
///
/// [`to_text`](Self::to_text) and [`FromStr`] are lossless. `Display` is for people: it escapes
/// what is not printable and cuts long keys.
///
/// # Examples
/// ```
/// use checkpoint::CheckpointId;
///
/// let id = CheckpointId::new("word-count", "to be")?;
/// assert_eq!(id.to_text(), "word-count/to%20be");
/// assert_eq!("word-count/to%20be".parse::<CheckpointId>()?, id);
/// # Ok::<(), checkpoint::InvalidCheckpointId>(())
/// ```
#[doc(alias = "org.apache.s4.core.ft.CheckpointId")]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId {
    prototype: Arc<str>,
    key: Arc<[u8]>,
}

impl CheckpointId {
    /// Returns the id of `key` in `prototype`.
    ///
    /// # Errors
    /// The name is empty, longer than 200 bytes or has a control character, or the key is longer
    /// than 65,536 bytes.
    pub fn new(
        prototype: impl Into<Arc<str>>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, InvalidCheckpointId> {
        let prototype = prototype.into();
        check_prototype_name(&prototype)?;
        Self::within_limits(prototype, key.as_ref())
    }

    /// The same for names of the library's own, which have a control character in front.
    pub(crate) fn within_limits(
        prototype: Arc<str>,
        key: &[u8],
    ) -> Result<Self, InvalidCheckpointId> {
        check_key(key)?;
        Ok(Self { prototype, key: key.into() })
    }

    /// Returns the name of the prototype.
    #[must_use]
    pub fn prototype(&self) -> &str {
        &self.prototype
    }

    /// Returns the key's bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns a borrowed form of this id.
    #[must_use]
    pub fn as_ref(&self) -> CheckpointIdRef<'_> {
        CheckpointIdRef { prototype: &self.prototype, key: &self.key }
    }

    /// Returns the lossless text form: name and key percent-encoded, with a `/` between.
    ///
    /// Letters, digits and `-`, `_`, `.` stand for themselves.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.prototype.len() + self.key.len() + 1);
        percent_encode(self.prototype.as_bytes(), &mut text);
        text.push('/');
        percent_encode(&self.key, &mut text);
        text
    }
}

/// A borrowed [`CheckpointId`], for instance one that lies inside a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointIdRef<'a> {
    /// The name of the prototype.
    pub prototype: &'a str,
    /// The key's bytes.
    pub key: &'a [u8],
}

impl CheckpointIdRef<'_> {
    /// Returns an owned copy.
    #[must_use]
    pub fn to_owned(self) -> CheckpointId {
        CheckpointId { prototype: self.prototype.into(), key: self.key.into() }
    }

    /// Returns what a log says in place of the key, which may be private.
    pub(crate) fn key_hash(self) -> String {
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(self.key))
    }

    /// Returns what a log that was opted into says of the key besides; nothing in all others.
    pub(crate) fn logged(self, log_keys: bool) -> Option<String> {
        log_keys.then(|| self.to_string())
    }
}

/// Why something is no [`CheckpointId`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidCheckpointId {
    /// The prototype has no name.
    #[error("a prototype's name cannot be empty")]
    EmptyName,
    /// The prototype's name is too long.
    #[error("a prototype's name can have {PROTOTYPE_NAME_BYTES_MAX} bytes, not {found}")]
    NameTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The prototype's name has a control character, which the library keeps for its own names.
    #[error("a prototype's name cannot have the control character U+{:04X}", u32::from(*found))]
    ControlCharacter {
        /// The character.
        found: char,
    },
    /// The key is too long.
    #[error("a key can have {KEY_BYTES_MAX} bytes, not {found}")]
    KeyTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The text has no `/` between name and key, or an escape that is none.
    #[error(
        "not an id's text form, at byte {at}: write `name/key`, other bytes as `%` and two hex \
         digits"
    )]
    Text {
        /// Where the text stops being one.
        at: usize,
    },
}

/// Checks a name that a user gives to a prototype.
pub(crate) fn check_prototype_name(name: &str) -> Result<(), InvalidCheckpointId> {
    if name.is_empty() {
        return Err(InvalidCheckpointId::EmptyName);
    }
    if name.len() > PROTOTYPE_NAME_BYTES_MAX {
        return Err(InvalidCheckpointId::NameTooLong { found: name.len() });
    }
    match name.chars().find(|c| c.is_control()) {
        Some(found) => Err(InvalidCheckpointId::ControlCharacter { found }),
        None => Ok(()),
    }
}

/// Checks the bytes of a key.
pub(crate) fn check_key(key: &[u8]) -> Result<(), InvalidCheckpointId> {
    match key.len() {
        0..=KEY_BYTES_MAX => Ok(()),
        found => Err(InvalidCheckpointId::KeyTooLong { found }),
    }
}

fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn percent_encode(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        if stands_for_itself(byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            for nibble in [byte >> 4, byte & 15] {
                text.extend(
                    char::from_digit(u32::from(nibble), 16).map(|c| c.to_ascii_uppercase()),
                );
            }
        }
    }
}

/// Decodes what `percent_encode` wrote and nothing else, so that an id has one text form.
fn percent_decode(text: &str, offset: usize) -> Result<Vec<u8>, InvalidCheckpointId> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let at = offset + text.len() - rest.len();
        let error = InvalidCheckpointId::Text { at };
        rest = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let byte = upper_hex(*high).zip(upper_hex(*low)).map(|(h, l)| 16 * h + l);
                bytes.push(byte.filter(|b| !stands_for_itself(*b)).ok_or(error)?);
                behind
            }
            (byte, behind) if stands_for_itself(*byte) => {
                bytes.push(*byte);
                behind
            }
            _ => return Err(error),
        };
    }
    Ok(bytes)
}

fn upper_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl FromStr for CheckpointId {
    type Err = InvalidCheckpointId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, key) =
            text.split_once('/').ok_or(InvalidCheckpointId::Text { at: text.len() })?;
        let prototype = String::from_utf8(percent_decode(name, 0)?)
            .map_err(|err| InvalidCheckpointId::Text { at: err.utf8_error().valid_up_to() })?;
        Self::new(prototype, percent_decode(key, name.len() + 1)?)
    }
}

impl fmt::Display for CheckpointIdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match std::str::from_utf8(self.key) {
            Ok(text) => text.escape_debug().to_string(),
            Err(_) => self.key.escape_ascii().to_string(),
        };
        write!(f, "{}/", self.prototype.escape_debug())?;
        match key.char_indices().nth(SHOWN_KEY_CHARS_MAX) {
            None => f.write_str(&key),
            Some((end, _)) => {
                write!(f, "{}… ({} bytes)", key.get(..end).unwrap_or(&key), self.key.len())
            }
        }
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for CheckpointIdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointId({self})")
    }
}

impl fmt::Debug for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(prototype: &str, key: &[u8], text: &str) {
        let id = CheckpointId::new(prototype, key).unwrap();
        assert_eq!(id.to_text(), text);
        assert_eq!(text.parse::<CheckpointId>().unwrap(), id);
    }

    #[test]
    fn an_id_says_in_debug_output_what_it_is() {
        let id = CheckpointId::new("p", "k").unwrap();
        assert_eq!(format!("{id:?} {:?}", id.as_ref()), "CheckpointId(p/k) CheckpointId(p/k)");
    }

    #[test]
    fn text_form_is_lossless() {
        check_text("word-count", b"alice", "word-count/alice");
        check_text("a];[b", b"a b/c%", "a%5D%3B%5Bb/a%20b%2Fc%25");
        check_text("ключ", b"", "%D0%BA%D0%BB%D1%8E%D1%87/");
        check_text("p", &[0, 255, b'%'], "p/%00%FF%25");
    }

    #[test]
    fn a_text_that_is_no_id_is_told_where() {
        for (text, at) in [("p/ab%zz", 4), ("p/a%20b c", 7), ("p%2/k", 1), ("pq/%41", 3)] {
            let expected = InvalidCheckpointId::Text { at };
            assert_eq!(text.parse::<CheckpointId>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn a_log_has_the_hash_of_a_key_and_the_id_only_if_that_is_wanted() {
        let id = CheckpointId::new("p", "").unwrap();
        // XXH3's own test vector for no bytes at all.
        assert_eq!(id.as_ref().key_hash(), "2d06800538d394c2");
        assert_eq!(id.as_ref().logged(false), None);
        assert_eq!(id.as_ref().logged(true).as_deref(), Some("p/"));
    }

    #[test]
    fn an_id_has_one_text_form_only() {
        for text in ["", "p", "p/%", "p/%4", "p/%zz", "p/%61", "p/%ff", "p/a b", "p/a/b", "/k"] {
            assert!(text.parse::<CheckpointId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn limits_hold_at_the_boundary() {
        let name = |n| "n".repeat(n);
        assert!(CheckpointId::new(name(PROTOTYPE_NAME_BYTES_MAX), b"").is_ok());
        assert_eq!(
            CheckpointId::new(name(PROTOTYPE_NAME_BYTES_MAX + 1), b""),
            Err(InvalidCheckpointId::NameTooLong { found: 201 })
        );
        assert_eq!(CheckpointId::new("", b""), Err(InvalidCheckpointId::EmptyName));
        assert_eq!(KEY_BYTES_MAX, 65_536);
        assert!(CheckpointId::new("p", vec![0; KEY_BYTES_MAX]).is_ok());
        assert_eq!(
            CheckpointId::new("p", vec![0; KEY_BYTES_MAX + 1]),
            Err(InvalidCheckpointId::KeyTooLong { found: 65_537 })
        );
        assert_eq!(
            CheckpointId::new("a\u{1}", b""),
            Err(InvalidCheckpointId::ControlCharacter { found: '\u{1}' })
        );
    }

    #[test]
    fn display_escapes_and_cuts() {
        let id = CheckpointId::new("p", "a\n").unwrap();
        assert_eq!(id.to_string(), "p/a\\n");
        let id = CheckpointId::new("p", "x".repeat(100)).unwrap();
        assert_eq!(id.to_string(), format!("p/{}… (100 bytes)", "x".repeat(64)));
    }
}
