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
    pub struct __Staged<u8>
    where
        u8: ::checkpoint::__private::Checkpointable,
        u8: ::checkpoint::__private::Checkpointable,
    {
        __field_0: <u32 as ::checkpoint::__private::Checkpointable>::Staged,
        __field_1: <bool as ::checkpoint::__private::Checkpointable>::Staged,
        __field_2: <String as ::checkpoint::__private::Checkpointable>::Staged,
        __field_3: <u8 as ::checkpoint::__private::Checkpointable>::Staged,
        __field_4: <u8 as ::checkpoint::__private::Checkpointable>::Staged,
        marker: ::core::marker::PhantomData<fn() -> Order<u8>>,
    }
    #[automatically_derived]
    impl<u8> ::checkpoint::__private::Checkpointable for Order<u8>
    where
        u8: ::checkpoint::__private::Checkpointable,
        u8: ::checkpoint::__private::Checkpointable,
    {
        type Staged = __Staged<u8>;
        const MIN_SIZE: ::core::primitive::usize = 0
            + <u32 as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <bool as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <String as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <u8 as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <u8 as ::checkpoint::__private::Checkpointable>::MIN_SIZE;
        const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Struct(
            &[
                ::checkpoint::__private::SchemaField {
                    name: "id",
                    schema: <u32 as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "open",
                    schema: <bool as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "of",
                    schema: <String as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "by",
                    schema: <u8 as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "to",
                    schema: <u8 as ::checkpoint::__private::Checkpointable>::schema,
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
                    {
                        const __SIZE: ::core::primitive::usize = ::checkpoint::__private::run_size(
                            &[
                                <u32 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                                <bool as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                            ],
                        );
                        let mut __run = [0; __SIZE];
                        if __SIZE > 0 {
                            let __place: &mut [::core::primitive::u8] = &mut __run;
                            let __place = <u32 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                                &self.id,
                                __place,
                            );
                            let __place = <bool as ::checkpoint::__private::Checkpointable>::encode_fixed(
                                &self.open,
                                __place,
                            );
                        }
                        if __SIZE == 0
                            || !::checkpoint::__private::write_run(__encoder, &__run)
                        {
                            ::checkpoint::__private::encoded_field(
                                <u32 as ::checkpoint::__private::Checkpointable>::encode(
                                    &self.id,
                                    __encoder,
                                ),
                                "id",
                            )?;
                            ::checkpoint::__private::encoded_field(
                                <bool as ::checkpoint::__private::Checkpointable>::encode(
                                    &self.open,
                                    __encoder,
                                ),
                                "open",
                            )?;
                        }
                    }
                    ::checkpoint::__private::encoded_field(
                        <String as ::checkpoint::__private::Checkpointable>::encode(
                            &self.of,
                            __encoder,
                        ),
                        "of",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <u8 as ::checkpoint::__private::Checkpointable>::encode(
                            &self.by,
                            __encoder,
                        ),
                        "by",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <u8 as ::checkpoint::__private::Checkpointable>::encode(
                            &self.to,
                            __encoder,
                        ),
                        "to",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn decode(
            __decoder: &mut ::checkpoint::__private::Decoder<'_>,
        ) -> ::core::result::Result<__Staged<u8>, ::checkpoint::__private::DecodeError> {
            ::checkpoint::__private::decode_nested::<
                Self,
                _,
            >(
                __decoder,
                |__decoder| {
                    ::core::result::Result::Ok({
                        let __field_0 = ::checkpoint::__private::decoded_field(
                            <u32 as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "id",
                        )?;
                        let __field_1 = ::checkpoint::__private::decoded_field(
                            <bool as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "open",
                        )?;
                        let __field_2 = ::checkpoint::__private::decoded_field(
                            <String as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "of",
                        )?;
                        let __field_3 = ::checkpoint::__private::decoded_field(
                            <u8 as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "by",
                        )?;
                        let __field_4 = ::checkpoint::__private::decoded_field(
                            <u8 as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "to",
                        )?;
                        __Staged {
                            __field_0,
                            __field_1,
                            __field_2,
                            __field_3,
                            __field_4,
                            marker: ::core::marker::PhantomData,
                        }
                    })
                },
            )
        }
        fn encode_staged(
            __staged: &__Staged<u8>,
            __encoder: &mut ::checkpoint::__private::Encoder,
        ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
            ::checkpoint::__private::encode_nested::<
                Self,
            >(
                __encoder,
                |__encoder| {
                    let __Staged {
                        __field_0,
                        __field_1,
                        __field_2,
                        __field_3,
                        __field_4,
                        marker: _,
                    } = __staged;
                    ::checkpoint::__private::encoded_field(
                        <u32 as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_0,
                            __encoder,
                        ),
                        "id",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <bool as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_1,
                            __encoder,
                        ),
                        "open",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <String as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_2,
                            __encoder,
                        ),
                        "of",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <u8 as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_3,
                            __encoder,
                        ),
                        "by",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <u8 as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_4,
                            __encoder,
                        ),
                        "to",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged<u8>) {
            let __Staged {
                __field_0,
                __field_1,
                __field_2,
                __field_3,
                __field_4,
                marker: _,
            } = __staged;
            <u32 as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.id,
                __field_0,
            );
            <bool as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.open,
                __field_1,
            );
            <String as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.of,
                __field_2,
            );
            <u8 as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.by,
                __field_3,
            );
            <u8 as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.to,
                __field_4,
            );
        }
        #[inline]
        fn touch(__value: &Self) -> ::core::primitive::u8 {
            let mut __touched = 0;
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <u32 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                true,
            ) {
                __touched
                    ^= <u32 as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.id,
                    );
            }
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <bool as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                false,
            ) {
                __touched
                    ^= <bool as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.open,
                    );
            }
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <String as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                false,
            ) {
                __touched
                    ^= <String as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.of,
                    );
            }
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <u8 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                false,
            ) {
                __touched
                    ^= <u8 as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.by,
                    );
            }
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <u8 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                false,
            ) {
                __touched
                    ^= <u8 as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.to,
                    );
            }
            __touched
        }
        const FIXED_SIZE: ::core::option::Option<::core::primitive::usize> = ::checkpoint::__private::fixed_size(
            &[
                <u32 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <bool as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <String as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <u8 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <u8 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
            ],
        );
        #[inline]
        fn encode_fixed<'__checkpoint>(
            &self,
            __place: &'__checkpoint mut [::core::primitive::u8],
        ) -> &'__checkpoint mut [::core::primitive::u8] {
            let __place = <u32 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.id,
                __place,
            );
            let __place = <bool as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.open,
                __place,
            );
            let __place = <String as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.of,
                __place,
            );
            let __place = <u8 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.by,
                __place,
            );
            let __place = <u8 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.to,
                __place,
            );
            __place
        }
    }
    #[automatically_derived]
    impl<u8> ::checkpoint::__private::Rebuild for Order<u8>
    where
        u8: ::checkpoint::__private::Checkpointable,
        u8: ::checkpoint::__private::Checkpointable,
        u8: ::checkpoint::__private::Rebuild,
        u8: ::checkpoint::__private::Rebuild,
    {
        #[inline]
        fn rebuild(__staged: __Staged<u8>) -> Self {
            let __Staged {
                __field_0,
                __field_1,
                __field_2,
                __field_3,
                __field_4,
                marker: _,
            } = __staged;
            Order {
                id: <u32 as ::checkpoint::__private::Rebuild>::rebuild(__field_0),
                open: <bool as ::checkpoint::__private::Rebuild>::rebuild(__field_1),
                of: <String as ::checkpoint::__private::Rebuild>::rebuild(__field_2),
                by: <u8 as ::checkpoint::__private::Rebuild>::rebuild(__field_3),
                to: <u8 as ::checkpoint::__private::Rebuild>::rebuild(__field_4),
            }
        }
    }
};
