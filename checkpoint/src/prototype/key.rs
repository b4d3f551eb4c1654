//! What can be the key of a PE.

use std::borrow::Borrow;
use std::hash::Hash;

use thiserror::Error;

/// The key of a PE: found in memory by `Eq` and `Hash`, and in storage by its bytes.
///
/// Implemented for strings, integers, byte strings, `bool`, `char`, `()`, UUIDs (feature `uuid`)
/// and tuples of two to four of these. For a type of one's own, forward to one of them or write the
/// bytes oneself.
///
/// # Contract
/// Two keys are equal exactly if their bytes are, and the bytes of a key never change: they are its
/// name in the store. `Hash` and `Eq` run under a shard's lock; they must not call the library.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a processing element",
    label = "not a key",
    note = "keys are strings, integers, byte strings, `bool`, `char`, `Uuid` (feature `uuid`), and \
            tuples of two to four of these",
    note = "if `{Self}` is your type: implement `Key` and `KeyBytes` for it by forwarding to one \
            of them"
)]
pub trait Key: KeyBytes + Eq + Hash + Clone + Send + Sync + 'static {
    /// Returns the key with these bytes, or nothing if there is none.
    ///
    /// # Errors
    /// No key of this type has these bytes.
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey>;

    /// Returns the name of the type's byte form; it is recorded with the store, and opening the
    /// store with another one is refused.
    fn key_type() -> String;
}

/// Something that has the bytes of a key: a key or a borrowed form of one.
pub trait KeyBytes {
    /// Calls `f` with the key's bytes.
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R;

    /// Returns the partition that the key names itself; by default none, and the partitioner says.
    ///
    /// For keys that carry the partition of the broker that they come from. A number beyond the
    /// store's partitions is taken modulo their number. It must be the same for ever, like the
    /// bytes.
    #[inline]
    fn own_partition(&self) -> Option<u32> {
        None
    }

    /// Appends the bytes in a form that can be followed by others: by default a length (u32,
    /// big-endian) and the bytes.
    fn append_key_part(&self, out: &mut Vec<u8>) {
        self.with_key_bytes(|bytes| {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        });
    }
}

/// The bytes are those of no key of the wanted type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("these bytes are those of no key of the wanted type")]
pub struct NotAKey;

/// What can be given where a key is asked for: a reference to a key or to a borrowed form of it,
/// or, for integers and the like, the key itself.
///
/// So `process("alice", …)` works for `String` keys, and `process(7, …)` and `process(&7, …)` for
/// `u64`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key of processing elements whose keys are `{K}`",
    label = "not a key of them",
    note = "give a `&{K}` or a reference to what it borrows as, such as `&str` for `String`; an \
            integer, a `bool`, a `char` or a `Uuid` may also be given by value"
)]
pub trait AsKey<K> {
    /// The borrowed form.
    type Borrowed: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized;

    /// Returns the borrowed form.
    fn as_key(&self) -> &Self::Borrowed;
}

#[diagnostic::do_not_recommend]
impl<K, Q> AsKey<K> for &Q
where
    K: Borrow<Q>,
    Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    type Borrowed = Q;

    fn as_key(&self) -> &Q {
        self
    }
}

/// Part of a tuple: the rest of the bytes is taken apart from the front.
trait KeyPart: Key {
    /// How many bytes the part has in a tuple; `None` if it says so itself.
    const FIXED_BYTES: Option<usize>;

    fn split(bytes: &[u8]) -> Result<(Self, &[u8]), NotAKey> {
        let (part, rest) = match Self::FIXED_BYTES {
            Some(n) => bytes.split_at_checked(n).ok_or(NotAKey)?,
            None => {
                let (length, rest) = bytes.split_first_chunk::<4>().ok_or(NotAKey)?;
                let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| NotAKey)?;
                rest.split_at_checked(length).ok_or(NotAKey)?
            }
        };
        Ok((Self::from_key_bytes(part)?, rest))
    }
}

/// Integers are big-endian, so that stores list them in order.
macro_rules! integer_keys {
    ($($integer:ty),*) => {$(
        impl KeyBytes for $integer {
            #[inline]
            fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                f(&self.to_be_bytes())
            }

            fn append_key_part(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl Key for $integer {
            fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
                bytes.try_into().map(Self::from_be_bytes).map_err(|_| NotAKey)
            }

            fn key_type() -> String {
                stringify!($integer).to_owned()
            }
        }

        impl KeyPart for $integer {
            const FIXED_BYTES: Option<usize> = Some(size_of::<$integer>());
        }

        impl AsKey<$integer> for $integer {
            type Borrowed = $integer;

            #[inline]
            fn as_key(&self) -> &$integer {
                self
            }
        }
    )*};
}
integer_keys!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

/// Keys that are stored as another key and passed by value too.
macro_rules! keys_as {
    ($($(#[$cfg:meta])? $key:ty as $name:literal, $bytes:literal,
       |$this:ident| $to:expr, |$from:ident| $back:expr;)*) => {$(
        $(#[$cfg])?
        impl KeyBytes for $key {
            #[inline]
            fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                let $this = self;
                f(&$to)
            }

            fn append_key_part(&self, out: &mut Vec<u8>) {
                self.with_key_bytes(|bytes| out.extend_from_slice(bytes));
            }
        }

        $(#[$cfg])?
        impl Key for $key {
            fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
                let $from: [u8; $bytes] = bytes.try_into().map_err(|_| NotAKey)?;
                $back
            }

            fn key_type() -> String {
                $name.to_owned()
            }
        }

        $(#[$cfg])?
        impl KeyPart for $key {
            const FIXED_BYTES: Option<usize> = Some($bytes);
        }

        $(#[$cfg])?
        impl AsKey<$key> for $key {
            type Borrowed = $key;

            #[inline]
            fn as_key(&self) -> &$key {
                self
            }
        }
    )*};
}
keys_as! {
    () as "()", 0, |_this| [], |_bytes| Ok(());
    bool as "bool", 1, |this| [u8::from(*this)], |bytes| match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(NotAKey),
    };
    char as "char", 4, |this| u32::from(*this).to_be_bytes(),
        |bytes| Self::from_u32(u32::from_be_bytes(bytes)).ok_or(NotAKey);
    #[cfg(feature = "uuid")]
    uuid::Uuid as "uuid", 16, |this| *this.as_bytes(), |bytes| Ok(Self::from_bytes(bytes));
}

/// The key of a singleton: one PE for each partition.
///
/// See [`SafeKeeper::singleton`](crate::SafeKeeper::singleton).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(pub u32);

impl KeyBytes for PartitionKey {
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&self.0.to_be_bytes())
    }

    #[inline]
    fn own_partition(&self) -> Option<u32> {
        Some(self.0)
    }
}

impl Key for PartitionKey {
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        u32::from_key_bytes(bytes).map(Self)
    }

    fn key_type() -> String {
        "partition".to_owned()
    }
}

impl AsKey<Self> for PartitionKey {
    type Borrowed = Self;

    fn as_key(&self) -> &Self {
        self
    }
}

impl KeyBytes for str {
    #[inline]
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self.as_bytes())
    }
}

impl KeyBytes for String {
    #[inline]
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self.as_bytes())
    }
}

impl Key for String {
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        String::from_utf8(bytes.to_vec()).map_err(|_| NotAKey)
    }

    fn key_type() -> String {
        "string".to_owned()
    }
}

impl KeyPart for String {
    const FIXED_BYTES: Option<usize> = None;
}

impl KeyBytes for [u8] {
    #[inline]
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self)
    }
}

impl KeyBytes for Vec<u8> {
    #[inline]
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self)
    }
}

impl Key for Vec<u8> {
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        Ok(bytes.to_vec())
    }

    fn key_type() -> String {
        "bytes".to_owned()
    }
}

impl KeyPart for Vec<u8> {
    const FIXED_BYTES: Option<usize> = None;
}

macro_rules! tuple_keys {
    ($($($part:ident),+;)*) => {$(
        #[expect(non_snake_case, reason = "the parts are named like their types")]
        impl<$($part: KeyBytes),+> KeyBytes for ($($part,)+) {
            fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                let mut out = Vec::new();
                let ($($part,)+) = self;
                $($part.append_key_part(&mut out);)+
                f(&out)
            }
        }

        #[expect(non_snake_case, reason = "the parts are named like their types")]
        impl<$($part: KeyPart),+> Key for ($($part,)+) {
            fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
                let rest = bytes;
                $(let ($part, rest) = $part::split(rest)?;)+
                if rest.is_empty() { Ok(($($part,)+)) } else { Err(NotAKey) }
            }

            fn key_type() -> String {
                format!("({})", [$($part::key_type()),+].join(","))
            }
        }
    )*};
}
tuple_keys! {
    A, B;
    A, B, C;
    A, B, C, D;
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[track_caller]
    fn check<K: Key + fmt::Debug>(key: K, key_type: &str, expected: &[u8]) {
        let bytes = key.with_key_bytes(<[u8]>::to_vec);
        assert_eq!(bytes, expected);
        assert_eq!(K::from_key_bytes(&bytes).unwrap(), key);
        assert_eq!(K::key_type(), key_type);
        let mut longer = bytes.clone();
        longer.push(0);
        if !matches!(key_type, "string" | "bytes") {
            assert_eq!(K::from_key_bytes(&longer), Err(NotAKey));
        }
    }

    #[test]
    fn bytes_of_keys_never_change() {
        check(7_u64, "u64", &[0, 0, 0, 0, 0, 0, 0, 7]);
        check(-1_i16, "i16", &[255, 255]);
        check("né".to_owned(), "string", "né".as_bytes());
        check(vec![0_u8, 255], "bytes", &[0, 255]);
        check((), "()", &[]);
        check(true, "bool", &[1]);
        check('é', "char", &[0, 0, 0, 0xE9]);
        check((1_u8, "ab".to_owned()), "(u8,string)", &[1, 0, 0, 0, 2, b'a', b'b']);
        check(
            ("a".to_owned(), "b".to_owned(), 2_u16),
            "(string,string,u16)",
            &[0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b', 0, 2],
        );
    }

    #[test]
    fn different_tuples_have_different_bytes() {
        let bytes = |a: &str, b: &str| (a.to_owned(), b.to_owned()).with_key_bytes(<[u8]>::to_vec);
        assert_ne!(bytes("ab", "c"), bytes("a", "bc"));
        assert_ne!(bytes("", "x"), bytes("x", ""));
    }

    #[test]
    fn foreign_bytes_are_no_key() {
        assert!(u64::from_key_bytes(&[1]).is_err());
        assert!(String::from_key_bytes(&[255]).is_err());
        assert!(bool::from_key_bytes(&[2]).is_err());
        assert!(char::from_key_bytes(&0xD800_u32.to_be_bytes()).is_err());
        assert!(<(u8, String)>::from_key_bytes(&[1, 255, 255, 255, 255]).is_err());
    }
}
