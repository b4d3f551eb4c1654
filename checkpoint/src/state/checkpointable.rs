//! The trait of everything that can be stored.

use crate::state::{DecodeError, Decoder, EncodeError, Encoder, Schema};

/// Can be stored in a checkpoint and restored in place.
///
/// `#[derive(Checkpointable)]` implements it; see there for the attributes. The bytes of a derived
/// type are those of its stored fields, one after the other; an enum's begin with the number of the
/// variant as a `u32`.
///
/// # Layout
///
/// That of bincode 1 with its default settings, which is `config::legacy()` of bincode 2: integers
/// and floats little-endian in their width (`usize` as `u64`), lengths as `u64`, the number of a
/// variant as `u32`, the tag of an `Option` in one byte. Maps and sets are written in the order of
/// their iterators, so that equal states may have different bytes. Where serde would lose something
/// or waste space, it is departed from: a `SocketAddrV6` keeps flow label and scope, UUIDs have 16
/// bytes, and the times of chrono are numbers.
///
/// # Contract
///
/// - `decode` accepts whatever `encode` has accepted, under the same
///   [`StateLimits`](crate::StateLimits), and takes exactly the bytes that `encode` wrote.
/// - `decode` is given bytes that may be anything. It returns an error or a value; it neither
///   panics nor allocates more than it has asked the [`Decoder`] for.
/// - What `decode` returns is what was encoded: `encode_staged` writes it to the same bytes. A
///   collection without an order of its own is written by
///   [`Encoder::write_unordered`](crate::Encoder::write_unordered), and may come back in another.
/// - `apply` cannot fail. Hence a restore that goes wrong leaves the instance as it was.
/// - `encode` is called while other events of the processing element wait: it takes no locks and
///   does no input or output.
///
/// # Examples
///
/// ```
/// use checkpoint::{Checkpointable, StateLimits, encode_state, restore_state};
///
/// #[derive(Checkpointable, Default)]
/// struct WordCount {
///     count: u64,
///     #[transient]
///     name_of_this_process: String,
/// }
///
/// let limits = StateLimits::default();
/// let stored = WordCount { count: 7, name_of_this_process: "before".to_owned() };
/// let bytes = encode_state(&stored, &limits)?;
///
/// let mut restored = WordCount { count: 0, name_of_this_process: "after".to_owned() };
/// restore_state(&mut restored, &bytes, &limits)?;
/// assert_eq!(restored.count, 7);
/// assert_eq!(restored.name_of_this_process, "after");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// By hand, for a type that is stored as another one. It also is [`Rebuild`](crate::Rebuild), so
/// that collections of it can be stored:
///
/// ```
/// use checkpoint::{
///     Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema, StateLimits,
///     check_round_trip,
/// };
///
/// struct Percent(u8);
///
/// impl Checkpointable for Percent {
///     type Staged = Self;
///     const MIN_SIZE: usize = u8::MIN_SIZE;
///     const SCHEMA: &'static Schema = &Schema::Primitive("percent");
///
///     fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
///         self.0.encode(encoder)
///     }
///
///     fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
///         match u8::decode(decoder)? {
///             percent @ 0..=100 => Ok(Self(percent)),
///             other => Err(decoder.custom("at most 100 percent", other)),
///         }
///     }
///
///     fn encode_staged(staged: &Self, encoder: &mut Encoder) -> Result<(), EncodeError> {
///         staged.encode(encoder)
///     }
///
///     fn apply(&mut self, staged: Self) {
///         *self = staged;
///     }
/// }
///
/// impl Rebuild for Percent {
///     fn rebuild(staged: Self) -> Self {
///         staged
///     }
/// }
///
/// check_round_trip(&vec![Percent(7), Percent(100)], &StateLimits::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a checkpoint",
    label = "not storable",
    note = "if `{Self}` is your type: write `#[derive(Checkpointable)]` on it",
    note = "if it has serde's traits: write `#[checkpoint(serde, version = 1)]` on the field",
    note = "if it is from uuid, chrono, bytes, smol_str or indexmap: enable the feature of \
            `checkpoint` that has the crate's name",
    note = "if it need not survive a restart: write `#[transient]` on the field"
)]
#[doc(alias = "transient")]
pub trait Checkpointable {
    /// What decoding yields: everything stored, nothing transient.
    type Staged;

    /// The least number of bytes that a value encodes to.
    ///
    /// Bounds the length of sequences: a value must never encode to fewer. Zero means that it
    /// always encodes to none.
    const MIN_SIZE: usize;

    /// Describes what is stored.
    const SCHEMA: &'static Schema;

    /// Appends the stored fields.
    ///
    /// # Errors
    ///
    /// If the state gets larger than allowed, or contains a value that has no encoding.
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;

    /// Takes the stored fields.
    ///
    /// # Errors
    ///
    /// If the bytes are no value of the type.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError>;

    /// Appends what was decoded, as `encode` does with the fields of an instance.
    ///
    /// Debug builds decode each capture again and compare by this, see
    /// [`check_round_trip`](crate::check_round_trip); release builds never call it. Where `Staged`
    /// is `Self`, it is `staged.encode(encoder)`.
    ///
    /// # Errors
    ///
    /// As those of `encode`.
    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError>;

    /// Moves the stored fields into the instance.
    fn apply(&mut self, staged: Self::Staged);

    // The link that schemas refer to each other by; a function, so that types may contain
    // themselves.
    #[doc(hidden)]
    #[must_use]
    fn schema() -> &'static Schema {
        Self::SCHEMA
    }

    // The number of bytes that every value encodes to, where that is so: such values are written
    // by `encode_fixed`, with one check for the whole of a slice.
    #[doc(hidden)]
    const FIXED_SIZE: Option<usize> = None;

    // Writes the value to the beginning of `place`, which has at least `FIXED_SIZE` bytes, and
    // returns the rest. Called only where there is a `FIXED_SIZE`.
    #[doc(hidden)]
    fn encode_fixed<'a>(&self, place: &'a mut [u8]) -> &'a mut [u8] {
        place
    }

    // Reads a byte of what the value keeps on the heap, or of itself if it has a `FIXED_SIZE`: an
    // event that comes soon finds it in the processor's cache. Nothing depends on what is returned.
    // Bounded: pointers within what is on the heap are not followed. No method: it would be found
    // before a user's own `touch(&mut self)`.
    #[doc(hidden)]
    #[inline]
    fn touch(_value: &Self) -> u8 {
        0
    }

    // Overridden where a slice is plain bytes.
    #[doc(hidden)]
    #[inline]
    fn encode_slice(items: &[Self], encoder: &mut Encoder) -> Result<(), EncodeError>
    where
        Self: Sized,
    {
        if let Some(size) = Self::FIXED_SIZE {
            return encoder.write_fixed(items, size, Self::encode_fixed);
        }
        for item in items {
            item.encode(encoder).map_err(|err| err.in_field("[..]"))?;
        }
        Ok(())
    }

    // Overridden where an array is plain bytes.
    #[doc(hidden)]
    #[inline]
    fn decode_array<const N: usize>(
        decoder: &mut Decoder<'_>,
    ) -> Result<[Self::Staged; N], DecodeError> {
        let mut failure = None;
        let items: [Option<Self::Staged>; N] = std::array::from_fn(|_| {
            if failure.is_some() {
                return None;
            }
            Self::decode(decoder).map_err(|err| failure = Some(err.in_field("[..]"))).ok()
        });
        match failure {
            Some(err) => Err(err),
            None => Ok(items.map(|item| match item {
                Some(item) => item,
                None => unreachable!("an element is missing only if there is an error"),
            })),
        }
    }
}
