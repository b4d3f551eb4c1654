//! Tuples, arrays and what has no fields at all.

use std::marker::PhantomData;

use crate::state::generated::fixed_size;
use crate::state::{
    Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema, SchemaField,
};

const NO_FIELDS: &Schema = &Schema::Struct(&[]);

replaced! {
    impl [] ();
    min_size: 0;
    schema: NO_FIELDS;
    encode: |_this, _encoder| Ok(());
    decode: |_decoder| Ok(());
}

replaced! {
    impl [T: ?Sized] PhantomData<T>;
    min_size: 0;
    schema: NO_FIELDS;
    encode: |_this, _encoder| Ok(());
    decode: |_decoder| Ok(PhantomData);
}

macro_rules! tuple {
    ($($type:ident $index:tt $name:literal),+) => {
        impl<$($type: Checkpointable),+> Checkpointable for ($($type,)+) {
            type Staged = ($($type::Staged,)+);
            const MIN_SIZE: usize = 0 $(+ $type::MIN_SIZE)+;
            const SCHEMA: &'static Schema =
                &Schema::Struct(&[$(SchemaField { name: $name, schema: $type::schema }),+]);

            #[inline]
            fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                $(self.$index.encode(encoder).map_err(|err| err.in_field($name))?;)+
                Ok(())
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
                Ok(($($type::decode(decoder).map_err(|err| err.in_field($name))?,)+))
            }

            fn encode_staged(
                staged: &Self::Staged,
                encoder: &mut Encoder,
            ) -> Result<(), EncodeError> {
                $($type::encode_staged(&staged.$index, encoder)
                    .map_err(|err| err.in_field($name))?;)+
                Ok(())
            }

            #[inline]
            fn apply(&mut self, staged: Self::Staged) {
                $(self.$index.apply(staged.$index);)+
            }

            const FIXED_SIZE: Option<usize> = fixed_size(&[$($type::FIXED_SIZE),+]);

            #[inline]
            fn encode_fixed<'a>(&self, place: &'a mut [u8]) -> &'a mut [u8] {
                $(let place = self.$index.encode_fixed(place);)+
                place
            }

            #[inline]
            fn touch(value: &Self) -> u8 {
                0 $(^ $type::touch(&value.$index))+
            }
        }

        impl<$($type: Rebuild),+> Rebuild for ($($type,)+) {
            #[inline]
            fn rebuild(staged: Self::Staged) -> Self {
                ($($type::rebuild(staged.$index),)+)
            }
        }
    };
}

tuple!(A 0 "0");
tuple!(A 0 "0", B 1 "1");
tuple!(A 0 "0", B 1 "1", C 2 "2");
tuple!(A 0 "0", B 1 "1", C 2 "2", D 3 "3");
tuple!(A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4");
tuple!(A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5");
tuple!(A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5", G 6 "6");
tuple!(A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5", G 6 "6", H 7 "7");
tuple!(A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5", G 6 "6", H 7 "7", I 8 "8");
tuple!(
    A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5", G 6 "6", H 7 "7", I 8 "8", J 9 "9"
);
tuple!(
    A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5", G 6 "6", H 7 "7", I 8 "8", J 9 "9",
    K 10 "10"
);
tuple!(
    A 0 "0", B 1 "1", C 2 "2", D 3 "3", E 4 "4", F 5 "5", G 6 "6", H 7 "7", I 8 "8", J 9 "9",
    K 10 "10", L 11 "11"
);

impl<T: Checkpointable, const N: usize> Checkpointable for [T; N] {
    type Staged = [T::Staged; N];
    const MIN_SIZE: usize = T::MIN_SIZE * N;
    const SCHEMA: &'static Schema = &Schema::Array(T::schema, N);

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        T::encode_slice(self, encoder)
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
        T::decode_array(decoder)
    }

    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.iter().try_for_each(|staged| {
            T::encode_staged(staged, encoder).map_err(|err| err.in_field("[..]"))
        })
    }

    #[inline]
    fn apply(&mut self, staged: Self::Staged) {
        for (item, staged) in self.iter_mut().zip(staged) {
            item.apply(staged);
        }
    }

    const FIXED_SIZE: Option<usize> = match T::FIXED_SIZE {
        Some(size) => Some(size * N),
        None => None,
    };

    #[inline]
    fn encode_fixed<'a>(&self, place: &'a mut [u8]) -> &'a mut [u8] {
        self.iter().fold(place, |place, item| item.encode_fixed(place))
    }

    #[inline]
    fn touch(value: &Self) -> u8 {
        value.first().map_or(0, T::touch)
    }
}

impl<T: Rebuild, const N: usize> Rebuild for [T; N] {
    #[inline]
    fn rebuild(staged: Self::Staged) -> Self {
        staged.map(T::rebuild)
    }
}
