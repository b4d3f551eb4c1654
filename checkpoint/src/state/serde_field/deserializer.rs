//! Reads serde's data model in the layout of bincode 1.

use serde::de::{self, DeserializeSeed, Error as _, IntoDeserializer, Visitor};

use crate::state::limits::EMPTY_ELEMENTS_MAX;
use crate::state::serde_field::error::SerdeError;
use crate::state::{Checkpointable, DecodeErrorKind, Decoder, Rebuild};

type Result<T> = std::result::Result<T, SerdeError>;

pub(super) struct Deserializer<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl<'a, 'de> Deserializer<'a, 'de> {
    pub(super) fn new(decoder: &'a mut Decoder<'de>) -> Self {
        Self { decoder }
    }

    /// Reads what `Checkpointable` writes for the same type.
    #[inline]
    fn native<T: Rebuild>(self) -> Result<T> {
        Ok(T::rebuild(T::decode(self.decoder)?))
    }

    /// Reads the number of elements that follow, of which some may have no bytes.
    #[inline]
    fn count(&mut self) -> Result<usize> {
        let claimed = u64::decode(self.decoder)?;
        let count_max = self.decoder.remaining().saturating_add(EMPTY_ELEMENTS_MAX);
        match usize::try_from(claimed) {
            Ok(count) if count <= count_max => Ok(count),
            _ => Err(self
                .decoder
                .error(
                    DecodeErrorKind::InvalidLength,
                    8,
                    format!("a length of at most {count_max}"),
                    claimed.to_string(),
                )
                .into()),
        }
    }

    #[inline]
    fn bytes(self) -> Result<&'de [u8]> {
        let claimed = u64::decode(self.decoder)?;
        // A length beyond the address space is beyond the rest of the bytes too.
        let count = usize::try_from(claimed).unwrap_or(usize::MAX);
        Ok(self.decoder.read_bytes(count)?)
    }

    #[inline]
    fn text(self) -> Result<&'de str> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|_| SerdeError::custom("a text that is not UTF-8"))
    }

    /// Reads parts, one level deeper.
    #[inline]
    fn parts<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value> {
        self.decoder.enter()?;
        let value = visitor.visit_seq(Parts::new(self.decoder, count))?;
        self.decoder.leave();
        Ok(value)
    }

    fn not_self_describing<T>(self) -> Result<T> {
        Err(SerdeError::custom(
            "a type that needs a self-describing format, by `#[serde(untagged)]`, \
             `#[serde(tag = …)]` or `#[serde(flatten)]`",
        ))
    }
}

macro_rules! native {
    ($($method:ident => $visit:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(self.native()?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Deserializer<'_, 'de> {
    type Error = SerdeError;

    native!(
        deserialize_bool => visit_bool,
        deserialize_i8 => visit_i8,
        deserialize_i16 => visit_i16,
        deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64,
        deserialize_i128 => visit_i128,
        deserialize_u8 => visit_u8,
        deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64,
        deserialize_u128 => visit_u128,
        deserialize_f32 => visit_f32,
        deserialize_f64 => visit_f64,
        deserialize_char => visit_char,
    );

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match u8::decode(self.decoder)? {
            0 => visitor.visit_none(),
            1 => {
                self.decoder.enter()?;
                let value = visitor.visit_some(Deserializer::new(self.decoder))?;
                self.decoder.leave();
                Ok(value)
            }
            other => Err(self.decoder.invalid_value(1, "0 or 1 for an Option", other).into()),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.decoder.enter()?;
        let value = visitor.visit_newtype_struct(Deserializer::new(self.decoder))?;
        self.decoder.leave();
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        let count = self.count()?;
        self.parts(count, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value> {
        self.parts(count, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.parts(count, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        let count = self.count()?;
        self.decoder.enter()?;
        let value = visitor.visit_map(Parts::new(self.decoder, count))?;
        self.decoder.leave();
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.parts(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        self.not_self_describing()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        self.not_self_describing()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        self.not_self_describing()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de> de::EnumAccess<'de> for Deserializer<'_, 'de> {
    type Error = SerdeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let number = u32::decode(self.decoder)?;
        let variant =
            seed.deserialize(IntoDeserializer::<SerdeError>::into_deserializer(number))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Deserializer<'_, 'de> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        self.decoder.enter()?;
        let value = seed.deserialize(Deserializer::new(self.decoder))?;
        self.decoder.leave();
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value> {
        self.parts(count, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.parts(fields.len(), visitor)
    }
}

/// The elements of a sequence or a map, or the fields of a struct.
struct Parts<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
    empty: usize,
}

impl<'a, 'de> Parts<'a, 'de> {
    fn new(decoder: &'a mut Decoder<'de>, left: usize) -> Self {
        Self { decoder, left, empty: 0 }
    }

    #[inline]
    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let remaining = self.decoder.remaining();
        let value = seed.deserialize(Deserializer::new(self.decoder))?;
        if self.decoder.remaining() == remaining {
            self.empty += 1;
            if self.empty > EMPTY_ELEMENTS_MAX {
                let expected = format!("at most {EMPTY_ELEMENTS_MAX} elements without bytes");
                let kind = DecodeErrorKind::InvalidLength;
                return Err(self.decoder.error(kind, 0, expected, "more of them").into());
            }
        }
        Ok(Some(value))
    }

    /// How many more there can be; memory may be allocated for so many.
    fn hint(&self) -> usize {
        self.left.min(self.decoder.remaining())
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(Deserializer::new(self.decoder))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}
