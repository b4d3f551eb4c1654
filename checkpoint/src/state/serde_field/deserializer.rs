//! Counts what bincode hands to serde, and stops it at the limits.

use std::fmt;

use bincode::serde::OwnedSerdeDecoder;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};

use crate::state::serde_field::CONFIG;
use crate::state::serde_field::decode_meter::Meter;
use crate::state::{DecodeError, Decoder};

/// Takes what bincode reads for a value.
pub(super) fn deserialize<T: DeserializeOwned>(
    decoder: &mut Decoder<'_>,
) -> Result<T, DecodeError> {
    let meter = Meter::new(decoder);
    let mut bincode = OwnedSerdeDecoder::from_reader(&meter, CONFIG);
    let result = T::deserialize(meter.around(bincode.as_deserializer()));
    let (value, left) = meter.outcome(result)?;
    decoder.read_bytes(decoder.remaining() - left)?;
    Ok(value)
}

/// A deserializer, a visitor or a seed with all that is inside of it counted.
struct Metered<'m, T> {
    inner: T,
    meter: &'m Meter<'m>,
}

impl<'m> Meter<'m> {
    #[inline]
    fn around<T>(&'m self, inner: T) -> Metered<'m, T> {
        Metered { inner, meter: self }
    }
}

/// Hands the call on, with what `$wrap` makes of the visitor.
macro_rules! forward {
    (
        |$this:ident, $visitor:ident| $wrap:expr;
        $($method:ident($($name:ident: $type:ty),*)),* $(,)?
    ) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(
            self,
            $($name: $type,)*
            $visitor: V,
        ) -> Result<V::Value, D::Error> {
            let $this = &self;
            let visitor = $wrap;
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: de::Deserializer<'de>> de::Deserializer<'de> for Metered<'_, D> {
    type Error = D::Error;

    // What has nothing inside of it.
    forward!(
        |_this, visitor| visitor;
        deserialize_bool(),
        deserialize_i8(),
        deserialize_i16(),
        deserialize_i32(),
        deserialize_i64(),
        deserialize_i128(),
        deserialize_u8(),
        deserialize_u16(),
        deserialize_u32(),
        deserialize_u64(),
        deserialize_u128(),
        deserialize_f32(),
        deserialize_f64(),
        deserialize_char(),
        deserialize_unit(),
        deserialize_unit_struct(name: &'static str),
    );

    forward!(
        |this, visitor| {
            this.meter.check_text()?;
            visitor
        };
        deserialize_str(),
        deserialize_string(),
        deserialize_bytes(),
        deserialize_byte_buf(),
    );

    // What has values inside of it, or is refused by bincode.
    forward!(
        |this, visitor| this.meter.around(visitor);
        deserialize_option(),
        deserialize_newtype_struct(name: &'static str),
        deserialize_seq(),
        deserialize_tuple(count: usize),
        deserialize_tuple_struct(name: &'static str, count: usize),
        deserialize_map(),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
        deserialize_any(),
        deserialize_identifier(),
        deserialize_ignored_any(),
    );

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Only what bincode calls for values that have others inside of them.
impl<'de, V: Visitor<'de>> Visitor<'de> for Metered<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_some<D: de::Deserializer<'de>>(self, some: D) -> Result<V::Value, D::Error> {
        let some = self.meter.around(some);
        self.meter.nested(|| self.inner.visit_some(some))
    }

    #[inline]
    fn visit_newtype_struct<D: de::Deserializer<'de>>(
        self,
        field: D,
    ) -> Result<V::Value, D::Error> {
        let field = self.meter.around(field);
        self.meter.nested(|| self.inner.visit_newtype_struct(field))
    }

    #[inline]
    fn visit_seq<A: de::SeqAccess<'de>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.meter.check_count(parts.size_hint())?;
        let parts = Parts { inner: parts, meter: self.meter, empty: 0 };
        self.meter.nested(|| self.inner.visit_seq(parts))
    }

    #[inline]
    fn visit_map<A: de::MapAccess<'de>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.meter.check_count(parts.size_hint())?;
        let parts = Parts { inner: parts, meter: self.meter, empty: 0 };
        self.meter.nested(|| self.inner.visit_map(parts))
    }

    #[inline]
    fn visit_enum<A: de::EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.meter.around(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Metered<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: de::Deserializer<'de>>(self, part: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.meter.around(part))
    }
}

impl<'m, 'de, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Metered<'m, A> {
    type Error = A::Error;
    type Variant = Metered<'m, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, self.meter.around(variant)))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Metered<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.meter.around(seed);
        self.meter.nested(|| self.inner.newtype_variant_seed(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(count, self.meter.around(visitor))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.meter.around(visitor))
    }
}

/// The elements of a sequence or a map, or the fields of a struct.
struct Parts<'m, A> {
    inner: A,
    meter: &'m Meter<'m>,
    empty: usize,
}

impl<A> Parts<'_, A> {
    /// Counts what `read` reads as one part, if there was one.
    #[inline]
    fn part<T, E: de::Error>(
        &mut self,
        read: impl FnOnce(&mut A) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let remaining = self.meter.remaining();
        let part = read(&mut self.inner)?;
        if self.meter.remaining() == remaining && part.is_some() {
            self.empty += 1;
            self.meter.check_empty(self.empty)?;
        }
        Ok(part)
    }

    /// How many more there can be; memory may be allocated for so many.
    #[inline]
    fn hint(&self, claimed: Option<usize>) -> Option<usize> {
        claimed.map(|claimed| claimed.min(self.meter.remaining()))
    }
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.meter.around(seed);
        self.part(|inner| inner.next_element_seed(seed))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint(self.inner.size_hint())
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.meter.around(seed);
        self.part(|inner| inner.next_key_seed(seed))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.meter.around(seed))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint(self.inner.size_hint())
    }
}
