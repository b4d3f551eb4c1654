//! Writes serde's data model in the layout of bincode 1.

use serde::ser::{self, Error as _, Serialize};

use crate::state::encoder::too_many_elements;
use crate::state::limits::EMPTY_ELEMENTS_MAX;
use crate::state::serde_field::error::SerdeError;
use crate::state::{Checkpointable, Encoder};

type Result<T = ()> = std::result::Result<T, SerdeError>;

pub(super) struct Serializer<'a> {
    encoder: &'a mut Encoder,
}

impl<'a> Serializer<'a> {
    pub(super) fn new(encoder: &'a mut Encoder) -> Self {
        Self { encoder }
    }

    /// Writes what `Checkpointable` writes for the same type.
    #[inline]
    fn native<T: Checkpointable>(self, value: T) -> Result {
        Ok(value.encode(self.encoder)?)
    }

    #[inline]
    fn bytes(self, bytes: &[u8]) -> Result {
        (bytes.len() as u64).encode(self.encoder)?;
        Ok(self.encoder.write_bytes(bytes)?)
    }

    #[inline]
    fn nested<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.encoder.enter()?;
        value.serialize(Serializer::new(self.encoder))?;
        self.encoder.leave();
        Ok(())
    }

    /// Begins something with several parts; `announced` if their number is stored.
    #[inline]
    fn compound(self, announced: Option<usize>) -> Result<Compound<'a>> {
        if let Some(count) = announced {
            (count as u64).encode(self.encoder)?;
        }
        self.encoder.enter()?;
        Ok(Compound { encoder: self.encoder, announced, written: 0, empty: 0 })
    }

    fn counted(self, count: Option<usize>) -> Result<Compound<'a>> {
        let Some(count) = count else {
            return Err(SerdeError::custom("a sequence whose length is not known beforehand"));
        };
        self.compound(Some(count))
    }
}

macro_rules! native {
    ($($method:ident($type:ty)),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result {
            self.native(value)
        }
    )*};
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    native!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
    );

    #[inline]
    fn serialize_str(self, value: &str) -> Result {
        self.bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result {
        self.bytes(value)
    }

    #[inline]
    fn serialize_none(self) -> Result {
        self.native(0_u8)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        1_u8.encode(self.encoder)?;
        self.nested(value)
    }

    fn serialize_unit(self) -> Result {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Result {
        self.native(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        self.nested(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Result {
        variant.encode(self.encoder)?;
        self.nested(value)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Compound<'a>> {
        self.counted(count)
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>> {
        self.compound(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>> {
        self.compound(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Compound<'a>> {
        variant.encode(self.encoder)?;
        self.compound(None)
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Compound<'a>> {
        self.counted(count)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>> {
        self.compound(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Compound<'a>> {
        variant.encode(self.encoder)?;
        self.compound(None)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Something with several parts, one level deeper.
pub(super) struct Compound<'a> {
    encoder: &'a mut Encoder,
    announced: Option<usize>,
    written: usize,
    empty: usize,
}

impl Compound<'_> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(Serializer::new(self.encoder))
    }

    /// Counts an element that began when the buffer had the length `start`.
    #[inline]
    fn element_ends(&mut self, start: usize) -> Result {
        self.written += 1;
        if self.encoder.len() == start {
            self.empty += 1;
            if self.empty > EMPTY_ELEMENTS_MAX {
                return Err(too_many_elements().into());
            }
        }
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result {
        if let Some(announced) = self.announced
            && announced != self.written
        {
            let written = self.written;
            return Err(SerdeError::Message(format!(
                "a sequence announced {announced} elements and has {written}"
            )));
        }
        self.encoder.leave();
        Ok(())
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        let start = self.encoder.len();
        self.part(value)?;
        self.element_ends(start)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        let start = self.encoder.len();
        self.part(key)?;
        self.element_ends(start)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.part(value)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

macro_rules! parts {
    ($($name:ident :: $method:ident),*) => {$(
        impl ser::$name for Compound<'_> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.part(value)
            }

            fn end(self) -> Result {
                self.finish()
            }
        }
    )*};
}

parts!(
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! fields {
    ($($name:ident),*) => {$(
        impl ser::$name for Compound<'_> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result {
                self.part(value)
            }

            fn skip_field(&mut self, field: &'static str) -> Result {
                Err(SerdeError::Message(format!(
                    "`{field}` is left out by `#[serde(skip_serializing_if)]`, so that it could \
                     not be decoded"
                )))
            }

            fn end(self) -> Result {
                self.finish()
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);
