//! `Option`, `Result` and the other enums of std that hold values.

use std::ops::Bound;

use crate::state::{
    Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema, SchemaField,
    SchemaVariant,
};

impl<T: Rebuild> Checkpointable for Option<T> {
    type Staged = Option<T::Staged>;
    const MIN_SIZE: usize = 1;
    const SCHEMA: &'static Schema = &Schema::Option(T::schema);

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            None => encoder.write_bytes(&[0]),
            Some(value) => {
                encoder.write_bytes(&[1])?;
                value.encode(encoder)
            }
        }
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
        match decoder.read_array()? {
            [0] => Ok(None),
            [1] => T::decode(decoder).map(Some),
            [other] => Err(decoder.invalid_value(1, "0 or 1 for an Option", other)),
        }
    }

    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match staged {
            None => encoder.write_bytes(&[0]),
            Some(staged) => {
                encoder.write_bytes(&[1])?;
                T::encode_staged(staged, encoder)
            }
        }
    }

    #[inline]
    fn apply(&mut self, staged: Self::Staged) {
        match (self, staged) {
            // In place, so that transient fields keep their values.
            (Some(value), Some(staged)) => value.apply(staged),
            (this, staged) => *this = Self::rebuild(staged),
        }
    }

    #[inline]
    fn touch(value: &Self) -> u8 {
        value.as_ref().map_or(0, T::touch)
    }
}

impl<T: Rebuild> Rebuild for Option<T> {
    #[inline]
    fn rebuild(staged: Self::Staged) -> Self {
        staged.map(T::rebuild)
    }
}

impl<T: Rebuild, E: Rebuild> Checkpointable for Result<T, E> {
    type Staged = Result<T::Staged, E::Staged>;
    const MIN_SIZE: usize = 4;
    const SCHEMA: &'static Schema = &Schema::Enum(&[
        SchemaVariant { name: "Ok", fields: &[SchemaField { name: "0", schema: T::schema }] },
        SchemaVariant { name: "Err", fields: &[SchemaField { name: "0", schema: E::schema }] },
    ]);

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Ok(value) => {
                0_u32.encode(encoder)?;
                value.encode(encoder)
            }
            Err(err) => {
                1_u32.encode(encoder)?;
                err.encode(encoder)
            }
        }
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
        match u32::decode(decoder)? {
            0 => T::decode(decoder).map(Ok),
            1 => E::decode(decoder).map(Err),
            other => Err(decoder.unknown_variant(other, 2)),
        }
    }

    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match staged {
            Ok(staged) => {
                0_u32.encode(encoder)?;
                T::encode_staged(staged, encoder)
            }
            Err(staged) => {
                1_u32.encode(encoder)?;
                E::encode_staged(staged, encoder)
            }
        }
    }

    #[inline]
    fn apply(&mut self, staged: Self::Staged) {
        match (self, staged) {
            (Ok(value), Ok(staged)) => value.apply(staged),
            (Err(value), Err(staged)) => value.apply(staged),
            (this, staged) => *this = Self::rebuild(staged),
        }
    }
}

impl<T: Rebuild, E: Rebuild> Rebuild for Result<T, E> {
    #[inline]
    fn rebuild(staged: Self::Staged) -> Self {
        staged.map(T::rebuild).map_err(E::rebuild)
    }
}

impl<T: Rebuild> Checkpointable for Bound<T> {
    type Staged = Bound<T>;
    const MIN_SIZE: usize = 4;
    const SCHEMA: &'static Schema = &Schema::Enum(&[
        SchemaVariant { name: "Unbounded", fields: &[] },
        SchemaVariant { name: "Included", fields: &[SchemaField { name: "0", schema: T::schema }] },
        SchemaVariant { name: "Excluded", fields: &[SchemaField { name: "0", schema: T::schema }] },
    ]);

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        // The numbers that serde gives the variants.
        let (number, value) = match self {
            Self::Unbounded => (0_u32, None),
            Self::Included(value) => (1, Some(value)),
            Self::Excluded(value) => (2, Some(value)),
        };
        number.encode(encoder)?;
        value.map_or(Ok(()), |value| value.encode(encoder))
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u32::decode(decoder)? {
            0 => Ok(Self::Unbounded),
            1 => Ok(Self::Included(T::rebuild(T::decode(decoder)?))),
            2 => Ok(Self::Excluded(T::rebuild(T::decode(decoder)?))),
            other => Err(decoder.unknown_variant(other, 3)),
        }
    }

    fn encode_staged(staged: &Self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.encode(encoder)
    }

    #[inline]
    fn apply(&mut self, staged: Self) {
        *self = staged;
    }
}

impl<T: Rebuild> Rebuild for Bound<T> {
    #[inline]
    fn rebuild(staged: Self) -> Self {
        staged
    }
}
