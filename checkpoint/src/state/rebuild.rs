//! The trait of what can be made anew from stored bytes alone.

use crate::state::{Checkpointable, DecodeError, Decoder};

/// Can be made anew from its stored fields alone.
///
/// The elements of collections, the values of `Option` and the fields of enum variants need it:
/// a restore finds no instance of them to restore into. The derive implements it unless the type
/// has a `#[transient]` field without a default, or contains such a type.
///
/// Values are rebuilt while the bytes are decoded; the default expressions of transient fields are
/// evaluated also when the bytes turn out to be bad later on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made from a checkpoint alone, as a collection, \
               an `Option` or an enum needs it",
    label = "not storable here",
    note = "if `{Self}` is your type: write `#[derive(Checkpointable)]` on it, and \
            `#[transient(default)]` or `#[transient(default = …)]` instead of `#[transient]` in it",
    note = "if it has serde's traits: write `#[checkpoint(serde, version = 1)]` on the field",
    note = "if it is from uuid, chrono, bytes, smol_str or indexmap: enable the feature of \
            `checkpoint` that has the crate's name",
    note = "if it need not survive a restart: write `#[transient]` on the field"
)]
pub trait Rebuild: Checkpointable + Sized {
    /// Makes a value of stored fields.
    fn rebuild(staged: Self::Staged) -> Self;

    // Overridden where a sequence is plain bytes. `count` was charged by `Decoder::read_count`.
    #[doc(hidden)]
    #[inline]
    fn decode_vec(count: usize, decoder: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut items = Vec::new();
        if items.try_reserve_exact(count).is_err() {
            return Err(decoder.out_of_memory(count));
        }
        for _ in 0..count {
            items.push(decode_element(decoder)?);
        }
        Ok(items)
    }
}

/// Decodes and rebuilds one element of a container.
#[inline]
pub(crate) fn decode_element<T: Rebuild>(decoder: &mut Decoder<'_>) -> Result<T, DecodeError> {
    match T::decode(decoder) {
        Ok(staged) => Ok(T::rebuild(staged)),
        Err(err) => Err(err.in_field("[..]")),
    }
}
