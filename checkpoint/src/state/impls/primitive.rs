//! Integers, floats, `bool` and `char`.

use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema};

/// Implements the traits for numbers whose memory, on a little-endian machine, is their encoding.
macro_rules! plain_number {
    ($($type:ident),*) => {$(
        impl Checkpointable for $type {
            type Staged = Self;
            const MIN_SIZE: usize = size_of::<$type>();
            const SCHEMA: &'static Schema = &Schema::Primitive(stringify!($type));

            #[inline]
            fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                encoder.write_bytes(&self.to_le_bytes())
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(decoder.read_array()?))
            }

            fn encode_staged(staged: &Self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                staged.encode(encoder)
            }

            #[inline]
            fn apply(&mut self, staged: Self) {
                *self = staged;
            }

            const FIXED_SIZE: Option<usize> = Some(size_of::<$type>());

            #[inline]
            fn encode_fixed<'a>(&self, place: &'a mut [u8]) -> &'a mut [u8] {
                match place.split_first_chunk_mut() {
                    Some((place, rest)) => {
                        *place = self.to_le_bytes();
                        rest
                    }
                    None => unreachable!("the place has at least `FIXED_SIZE` bytes"),
                }
            }

            #[inline]
            fn touch(value: &Self) -> u8 {
                let [first, ..] = value.to_le_bytes();
                first
            }

            #[inline]
            fn encode_slice(items: &[Self], encoder: &mut Encoder) -> Result<(), EncodeError> {
                if cfg!(target_endian = "little") {
                    return encoder.write_bytes(bytemuck::cast_slice(items));
                }
                items.iter().try_for_each(|item| item.encode(encoder))
            }

            #[inline]
            fn decode_array<const N: usize>(
                decoder: &mut Decoder<'_>,
            ) -> Result<[Self; N], DecodeError> {
                let offset = decoder.remaining();
                let bytes = decoder.read_bytes(size_of::<[Self; N]>())?;
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                match <&[_; N]>::try_from(chunks) {
                    Ok(chunks) => Ok(chunks.map(Self::from_le_bytes)),
                    Err(_) => unreachable!("{offset} bytes make {N} chunks"),
                }
            }
        }

        impl Rebuild for $type {
            #[inline]
            fn rebuild(staged: Self) -> Self {
                staged
            }

            #[inline]
            fn decode_vec(
                count: usize,
                decoder: &mut Decoder<'_>,
            ) -> Result<Vec<Self>, DecodeError> {
                // `read_count` has checked that so many bytes are there: no overflow.
                let bytes = decoder.read_bytes(count.saturating_mul(size_of::<$type>()))?;
                let mut items = Vec::new();
                if items.try_reserve_exact(count).is_err() {
                    return Err(decoder.out_of_memory(count));
                }
                // One vectorized copy into memory that is not filled with zeros before.
                let (chunks, _) = bytes.as_chunks();
                items.extend(chunks.iter().map(|chunk| Self::from_le_bytes(*chunk)));
                Ok(items)
            }
        }
    )*};
}

plain_number!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

/// Implements the traits for integers whose width depends on the machine, by one that does not.
macro_rules! machine_number {
    ($($type:ident as $stored:ident),*) => {$(
        replaced! {
            impl [] $type;
            min_size: size_of::<$stored>();
            schema: $stored::SCHEMA;
            encode: |this, encoder| {
                // No machine has integers wider than 64 bits.
                encoder.write_bytes(&(*this as $stored).to_le_bytes())
            };
            decode: |decoder| {
                let number = $stored::decode(decoder)?;
                Self::try_from(number).map_err(|_| {
                    decoder.invalid_value(8, concat!("a ", stringify!($type)), number)
                })
            };
        }
    )*};
}

machine_number!(usize as u64, isize as i64);

impl Checkpointable for bool {
    type Staged = Self;
    const MIN_SIZE: usize = 1;
    const SCHEMA: &'static Schema = &Schema::Primitive("bool");

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.write_bytes(&[u8::from(*self)])
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.read_array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(decoder.invalid_value(1, "0 or 1 for a bool", other)),
        }
    }

    fn encode_staged(staged: &Self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.encode(encoder)
    }

    #[inline]
    fn apply(&mut self, staged: Self) {
        *self = staged;
    }

    const FIXED_SIZE: Option<usize> = Some(1);

    #[inline]
    fn encode_fixed<'a>(&self, place: &'a mut [u8]) -> &'a mut [u8] {
        u8::from(*self).encode_fixed(place)
    }

    #[inline]
    fn touch(value: &Self) -> u8 {
        u8::from(*value)
    }

    #[inline]
    fn encode_slice(items: &[Self], encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.write_bytes(bytemuck::cast_slice(items))
    }
}

impl Rebuild for bool {
    #[inline]
    fn rebuild(staged: Self) -> Self {
        staged
    }
}

replaced! {
    impl [] char;
    min_size: 1;
    schema: &Schema::Primitive("char");
    encode: |this, encoder| encoder.write_bytes(this.encode_utf8(&mut [0; 4]).as_bytes());
    decode: |decoder| decode_char(decoder);
}

fn decode_char(decoder: &mut Decoder<'_>) -> Result<char, DecodeError> {
    let mut bytes = [0; 4];
    for width in 1..=bytes.len() {
        let [byte] = decoder.read_array()?;
        if let Some(place) = bytes.get_mut(width - 1) {
            *place = byte;
        }
        // UTF-8 is prefix-free: the first prefix that is valid is the character.
        let prefix = bytes.get(..width).unwrap_or_default();
        match std::str::from_utf8(prefix) {
            Ok(text) => return text.chars().next().ok_or_else(|| not_a_char(decoder, width)),
            Err(err) if err.error_len().is_none() => {}
            Err(_) => return Err(not_a_char(decoder, width)),
        }
    }
    Err(not_a_char(decoder, bytes.len()))
}

fn not_a_char(decoder: &Decoder<'_>, width: usize) -> DecodeError {
    decoder.invalid_value(width, "a character in UTF-8", "other bytes")
}
