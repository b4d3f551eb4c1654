//! Counts what serde hands to bincode, as the deserializer will count it.

use std::cell::{Cell, RefCell};

use bincode::enc::write::Writer;
use bincode::error::EncodeError as BincodeError;
use serde::ser::{self, Serialize};

use crate::state::encoder::{too_deep, too_many_elements};
use crate::state::limits::{DEPTH_MAX, EMPTY_ELEMENTS_MAX};
use crate::state::serde_field::CONFIG;
use crate::state::{EncodeError, EncodeErrorKind, Encoder};

/// Appends what bincode writes for the value.
pub(super) fn serialize<T: Serialize>(value: &T, encoder: &mut Encoder) -> Result<(), EncodeError> {
    let meter = Meter {
        depth: Cell::new(encoder.depth()),
        written: Cell::new(0),
        refusal: RefCell::new(None),
    };
    let writer = MeteredWriter { encoder, meter: &meter };
    let result = bincode::serde::encode_into_writer(meter.around(value), writer, CONFIG);
    // Asked for first: a hand-written `Serialize` may have hidden or swallowed it.
    match meter.refusal.take() {
        Some(err) => Err(err),
        None => result.map_err(|err| EncodeError::new(EncodeErrorKind::Serde, message(err))),
    }
}

fn message(err: BincodeError) -> String {
    match err {
        BincodeError::OtherString(message) => message,
        BincodeError::Serde(bincode::serde::EncodeError::SequenceMustHaveLength) => {
            "a sequence whose length is not known beforehand".to_owned()
        }
        other => other.to_string(),
    }
}

/// What is counted; shared by all that is wrapped in [`Metered`].
struct Meter {
    depth: Cell<u32>,
    /// How many bytes bincode has written.
    written: Cell<usize>,
    /// Why encoding was stopped, which serde's errors could not tell.
    refusal: RefCell<Option<EncodeError>>,
}

/// A value or a serializer with all that is inside of it counted.
struct Metered<'m, T> {
    inner: T,
    meter: &'m Meter,
}

impl Meter {
    #[inline]
    fn around<T>(&self, inner: T) -> Metered<'_, T> {
        Metered { inner, meter: self }
    }

    #[cold]
    #[inline(never)]
    fn refuse<E: ser::Error>(&self, err: EncodeError) -> E {
        let serde_error = E::custom(&err);
        self.refusal.borrow_mut().get_or_insert(err);
        serde_error
    }

    #[inline]
    fn enter<E: ser::Error>(&self) -> Result<(), E> {
        let depth = self.depth.get();
        if depth >= DEPTH_MAX {
            return Err(self.refuse(too_deep()));
        }
        self.depth.set(depth + 1);
        Ok(())
    }

    #[inline]
    fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    #[inline]
    fn nested<T, E: ser::Error>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.enter()?;
        let written = write()?;
        self.leave();
        Ok(written)
    }

    #[inline]
    fn parts<C, E: ser::Error>(
        &self,
        announced: Option<usize>,
        inner: C,
    ) -> Result<Parts<'_, C>, E> {
        self.enter()?;
        Ok(Parts { inner, meter: self, announced, count: 0, empty: 0 })
    }
}

struct MeteredWriter<'m> {
    encoder: &'m mut Encoder,
    meter: &'m Meter,
}

impl Writer for MeteredWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), BincodeError> {
        if let Err(err) = self.encoder.write_bytes(bytes) {
            return Err(self.meter.refuse(err));
        }
        self.meter.written.set(self.meter.written.get() + bytes.len());
        Ok(())
    }
}

impl<T: Serialize + ?Sized> Serialize for Metered<'_, &T> {
    #[inline]
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(self.meter.around(serializer))
    }
}

/// What has nothing inside of it.
macro_rules! leaves {
    ($($method:ident($($name:ident: $type:ty),*)),* $(,)?) => {$(
        #[inline]
        fn $method(self $(, $name: $type)*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        }
    )*};
}

/// What has one value inside of it.
macro_rules! wrappers {
    ($($method:ident($($name:ident: $type:ty),*)),* $(,)?) => {$(
        #[inline]
        fn $method<T: Serialize + ?Sized>(
            self,
            $($name: $type,)*
            value: &T,
        ) -> Result<S::Ok, S::Error> {
            let value = self.meter.around(value);
            self.meter.nested(|| self.inner.$method($($name,)* &value))
        }
    )*};
}

/// What has several values inside of it; `announced` is their number, if it is stored.
macro_rules! compounds {
    ($($method:ident($($name:ident: $type:ty),*) -> $parts:ident, $announced:expr;)*) => {$(
        #[inline]
        fn $method(self $(, $name: $type)*) -> Result<Self::$parts, S::Error> {
            self.meter.parts($announced, self.inner.$method($($name),*)?)
        }
    )*};
}

impl<'m, S: ser::Serializer> ser::Serializer for Metered<'m, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'m, S::SerializeSeq>;
    type SerializeTuple = Parts<'m, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'m, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'m, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'m, S::SerializeMap>;
    type SerializeStruct = Parts<'m, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'m, S::SerializeStructVariant>;

    leaves!(
        serialize_bool(value: bool),
        serialize_i8(value: i8),
        serialize_i16(value: i16),
        serialize_i32(value: i32),
        serialize_i64(value: i64),
        serialize_i128(value: i128),
        serialize_u8(value: u8),
        serialize_u16(value: u16),
        serialize_u32(value: u32),
        serialize_u64(value: u64),
        serialize_u128(value: u128),
        serialize_f32(value: f32),
        serialize_f64(value: f64),
        serialize_char(value: char),
        serialize_str(value: &str),
        serialize_bytes(value: &[u8]),
        serialize_none(),
        serialize_unit(),
        serialize_unit_struct(name: &'static str),
        serialize_unit_variant(name: &'static str, number: u32, variant: &'static str),
    );

    wrappers!(
        serialize_some(),
        serialize_newtype_struct(name: &'static str),
        serialize_newtype_variant(name: &'static str, number: u32, variant: &'static str),
    );

    compounds!(
        serialize_seq(count: Option<usize>) -> SerializeSeq, count;
        serialize_map(count: Option<usize>) -> SerializeMap, count;
        serialize_tuple(count: usize) -> SerializeTuple, None;
        serialize_tuple_struct(name: &'static str, count: usize) -> SerializeTupleStruct, None;
        serialize_struct(name: &'static str, count: usize) -> SerializeStruct, None;
        serialize_tuple_variant(
            name: &'static str, number: u32, variant: &'static str, count: usize
        ) -> SerializeTupleVariant, None;
        serialize_struct_variant(
            name: &'static str, number: u32, variant: &'static str, count: usize
        ) -> SerializeStructVariant, None;
    );

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Something with several parts, one level deeper.
struct Parts<'m, C> {
    inner: C,
    meter: &'m Meter,
    announced: Option<usize>,
    count: usize,
    empty: usize,
}

impl<C> Parts<'_, C> {
    /// Counts what `write` writes as one part.
    #[inline]
    fn part<E: ser::Error>(
        &mut self,
        write: impl FnOnce(&mut C) -> Result<(), E>,
    ) -> Result<(), E> {
        let written = self.meter.written.get();
        write(&mut self.inner)?;
        self.count += 1;
        if self.meter.written.get() == written {
            self.empty += 1;
            if self.empty > EMPTY_ELEMENTS_MAX {
                return Err(self.meter.refuse(too_many_elements()));
            }
        }
        Ok(())
    }

    #[inline]
    fn finish<T, E: ser::Error>(self, end: impl FnOnce(C) -> Result<T, E>) -> Result<T, E> {
        if let Some(announced) = self.announced
            && announced != self.count
        {
            let count = self.count;
            return Err(E::custom(format_args!(
                "a sequence announced {announced} elements and has {count}"
            )));
        }
        self.meter.leave();
        end(self.inner)
    }
}

macro_rules! parts {
    ($($name:ident::$method:ident $(, $value:ident)?;)*) => {$(
        impl<C: ser::$name> ser::$name for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let value = self.meter.around(value);
                self.part(|inner| inner.$method(&value))
            }

            $(
                #[inline]
                fn $value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                    self.inner.$value(&self.meter.around(value))
                }
            )?

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.finish(C::end)
            }
        }
    )*};
}

parts!(
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
    SerializeMap::serialize_key, serialize_value;
);

macro_rules! fields {
    ($($name:ident),*) => {$(
        impl<C: ser::$name> ser::$name for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let value = self.meter.around(value);
                self.part(|inner| inner.serialize_field(name, &value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                Err(ser::Error::custom(format_args!(
                    "`{name}` is left out by `#[serde(skip_serializing_if)]`, so that it could \
                     not be decoded"
                )))
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.finish(C::end)
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);
