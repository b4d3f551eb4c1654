#[allow(
    clippy::all,
    clippy::nursery,
    clippy::pedantic,
    clippy::restriction,
    dead_code,
    deprecated,
    non_camel_case_types,
    non_snake_case,
    private_bounds,
    private_interfaces,
    single_use_lifetimes,
    unreachable_code,
    unreachable_patterns,
    unreachable_pub,
    unused_lifetimes,
    unused_qualifications,
    unused_variables
)]
const _: () = {
    pub struct __Staged<T>
    where
        T: Rebuild,
    {
        __field_0: <Alias<T> as ::checkpoint::__private::Checkpointable>::Staged,
        marker: ::core::marker::PhantomData<fn() -> Holder<T>>,
    }
    #[automatically_derived]
    impl<T> ::checkpoint::__private::Checkpointable for Holder<T>
    where
        T: Rebuild,
    {
        type Staged = __Staged<T>;
        const MIN_SIZE: ::core::primitive::usize = 0
            + <Alias<T> as ::checkpoint::__private::Checkpointable>::MIN_SIZE;
        const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Struct(
            &[
                ::checkpoint::__private::SchemaField {
                    name: "0",
                    schema: <Alias<T> as ::checkpoint::__private::Checkpointable>::schema,
                },
            ],
        );
        #[inline]
        fn encode(
            &self,
            __encoder: &mut ::checkpoint::__private::Encoder,
        ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
            ::checkpoint::__private::encode_nested::<
                Self,
            >(
                __encoder,
                |__encoder| {
                    ::checkpoint::__private::encoded_field(
                        <Alias<
                            T,
                        > as ::checkpoint::__private::Checkpointable>::encode(
                            &self.0,
                            __encoder,
                        ),
                        "0",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn decode(
            __decoder: &mut ::checkpoint::__private::Decoder<'_>,
        ) -> ::core::result::Result<__Staged<T>, ::checkpoint::__private::DecodeError> {
            ::checkpoint::__private::decode_nested::<
                Self,
                _,
            >(
                __decoder,
                |__decoder| {
                    ::core::result::Result::Ok({
                        let __field_0 = ::checkpoint::__private::decoded_field(
                            <Alias<
                                T,
                            > as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "0",
                        )?;
                        __Staged {
                            __field_0,
                            marker: ::core::marker::PhantomData,
                        }
                    })
                },
            )
        }
        fn encode_staged(
            __staged: &__Staged<T>,
            __encoder: &mut ::checkpoint::__private::Encoder,
        ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
            ::checkpoint::__private::encode_nested::<
                Self,
            >(
                __encoder,
                |__encoder| {
                    let __Staged { __field_0, marker: _ } = __staged;
                    ::checkpoint::__private::encoded_field(
                        <Alias<
                            T,
                        > as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_0,
                            __encoder,
                        ),
                        "0",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged<T>) {
            let __Staged { __field_0, marker: _ } = __staged;
            <Alias<
                T,
            > as ::checkpoint::__private::Checkpointable>::apply(&mut self.0, __field_0);
        }
        #[inline]
        fn touch(__value: &Self) -> ::core::primitive::u8 {
            let mut __touched = 0;
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <Alias<T> as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                true,
            ) {
                __touched
                    ^= <Alias<
                        T,
                    > as ::checkpoint::__private::Checkpointable>::touch(&__value.0);
            }
            __touched
        }
        const FIXED_SIZE: ::core::option::Option<::core::primitive::usize> = ::checkpoint::__private::fixed_size(
            &[<Alias<T> as ::checkpoint::__private::Checkpointable>::FIXED_SIZE],
        );
        #[inline]
        fn encode_fixed<'__checkpoint>(
            &self,
            __place: &'__checkpoint mut [::core::primitive::u8],
        ) -> &'__checkpoint mut [::core::primitive::u8] {
            let __place = <Alias<
                T,
            > as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.0,
                __place,
            );
            __place
        }
    }
    #[automatically_derived]
    impl<T> ::checkpoint::__private::Rebuild for Holder<T>
    where
        T: Rebuild,
    {
        #[inline]
        fn rebuild(__staged: __Staged<T>) -> Self {
            let __Staged { __field_0, marker: _ } = __staged;
            Holder {
                0: <Alias<T> as ::checkpoint::__private::Rebuild>::rebuild(__field_0),
            }
        }
    }
};
