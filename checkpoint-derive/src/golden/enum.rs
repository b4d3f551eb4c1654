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
    pub enum __Staged<T>
    where
        T: other::path::__private::Rebuild,
        T: other::path::__private::Rebuild,
    {
        Nothing {},
        One { __field_0: <T as other::path::__private::Checkpointable>::Staged },
        Named {
            __field_0: <u8 as other::path::__private::Checkpointable>::Staged,
            __field_1: <Box<Event<T>> as other::path::__private::Checkpointable>::Staged,
        },
        __Marker(
            ::core::convert::Infallible,
            ::core::marker::PhantomData<fn() -> Event<T>>,
        ),
    }
    #[automatically_derived]
    impl<T> other::path::__private::Checkpointable for Event<T>
    where
        T: other::path::__private::Rebuild,
        T: other::path::__private::Rebuild,
    {
        type Staged = __Staged<T>;
        const MIN_SIZE: ::core::primitive::usize = 4;
        const SCHEMA: &'static other::path::__private::Schema = &other::path::__private::Schema::Enum(
            &[
                other::path::__private::SchemaVariant {
                    name: "Nothing",
                    fields: &[],
                },
                other::path::__private::SchemaVariant {
                    name: "One",
                    fields: &[
                        other::path::__private::SchemaField {
                            name: "0",
                            schema: <T as other::path::__private::Checkpointable>::schema,
                        },
                    ],
                },
                other::path::__private::SchemaVariant {
                    name: "Named",
                    fields: &[
                        other::path::__private::SchemaField {
                            name: "number",
                            schema: <u8 as other::path::__private::Checkpointable>::schema,
                        },
                        other::path::__private::SchemaField {
                            name: "next",
                            schema: <Box<
                                Event<T>,
                            > as other::path::__private::Checkpointable>::schema,
                        },
                    ],
                },
            ],
        );
        #[inline]
        fn encode(
            &self,
            __encoder: &mut other::path::__private::Encoder,
        ) -> ::core::result::Result<(), other::path::__private::EncodeError> {
            other::path::__private::encode_nested::<
                Self,
            >(
                __encoder,
                |__encoder| {
                    match *self {
                        Event::Nothing { .. } => {
                            other::path::__private::write_variant(__encoder, 0u32)?;
                        }
                        Event::One { 0: ref __field_0, .. } => {
                            other::path::__private::write_variant(__encoder, 1u32)?;
                            other::path::__private::encoded_field(
                                <T as other::path::__private::Checkpointable>::encode(
                                    __field_0,
                                    __encoder,
                                ),
                                "One.0",
                            )?;
                        }
                        Event::Named {
                            number: ref __field_0,
                            next: ref __field_1,
                            ..
                        } => {
                            other::path::__private::write_variant(__encoder, 2u32)?;
                            other::path::__private::encoded_field(
                                <u8 as other::path::__private::Checkpointable>::encode(
                                    __field_0,
                                    __encoder,
                                ),
                                "Named.number",
                            )?;
                            other::path::__private::encoded_field(
                                <Box<
                                    Event<T>,
                                > as other::path::__private::Checkpointable>::encode(
                                    __field_1,
                                    __encoder,
                                ),
                                "Named.next",
                            )?;
                        }
                    }
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn decode(
            __decoder: &mut other::path::__private::Decoder<'_>,
        ) -> ::core::result::Result<__Staged<T>, other::path::__private::DecodeError> {
            other::path::__private::decode_nested::<
                Self,
                _,
            >(
                __decoder,
                |__decoder| {
                    ::core::result::Result::Ok(
                        match other::path::__private::read_variant(__decoder)? {
                            0u32 => __Staged::Nothing {},
                            1u32 => {
                                let __field_0 = other::path::__private::decoded_field(
                                    <T as other::path::__private::Checkpointable>::decode(
                                        __decoder,
                                    ),
                                    "One.0",
                                )?;
                                __Staged::One { __field_0 }
                            }
                            2u32 => {
                                let __field_0 = other::path::__private::decoded_field(
                                    <u8 as other::path::__private::Checkpointable>::decode(
                                        __decoder,
                                    ),
                                    "Named.number",
                                )?;
                                let __field_1 = other::path::__private::decoded_field(
                                    <Box<
                                        Event<T>,
                                    > as other::path::__private::Checkpointable>::decode(
                                        __decoder,
                                    ),
                                    "Named.next",
                                )?;
                                __Staged::Named {
                                    __field_0,
                                    __field_1,
                                }
                            }
                            __number => {
                                return ::core::result::Result::Err(
                                    other::path::__private::Decoder::unknown_variant(
                                        __decoder,
                                        __number,
                                        3u32,
                                    ),
                                );
                            }
                        },
                    )
                },
            )
        }
        fn encode_staged(
            __staged: &__Staged<T>,
            __encoder: &mut other::path::__private::Encoder,
        ) -> ::core::result::Result<(), other::path::__private::EncodeError> {
            other::path::__private::encode_nested::<
                Self,
            >(
                __encoder,
                |__encoder| {
                    match __staged {
                        __Staged::Nothing {} => {
                            other::path::__private::write_variant(__encoder, 0u32)?;
                        }
                        __Staged::One { __field_0 } => {
                            other::path::__private::write_variant(__encoder, 1u32)?;
                            other::path::__private::encoded_field(
                                <T as other::path::__private::Checkpointable>::encode_staged(
                                    __field_0,
                                    __encoder,
                                ),
                                "One.0",
                            )?;
                        }
                        __Staged::Named { __field_0, __field_1 } => {
                            other::path::__private::write_variant(__encoder, 2u32)?;
                            other::path::__private::encoded_field(
                                <u8 as other::path::__private::Checkpointable>::encode_staged(
                                    __field_0,
                                    __encoder,
                                ),
                                "Named.number",
                            )?;
                            other::path::__private::encoded_field(
                                <Box<
                                    Event<T>,
                                > as other::path::__private::Checkpointable>::encode_staged(
                                    __field_1,
                                    __encoder,
                                ),
                                "Named.next",
                            )?;
                        }
                        __Staged::__Marker(__never, _) => match *__never {}
                    }
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged<T>) {
            match (self, __staged) {
                (Event::Nothing { .. }, __Staged::Nothing {}) => {}
                (Event::One { 0: __field_0_value, .. }, __Staged::One { __field_0 }) => {
                    <T as other::path::__private::Checkpointable>::apply(
                        __field_0_value,
                        __field_0,
                    );
                }
                (
                    Event::Named { number: __field_0_value, next: __field_1_value, .. },
                    __Staged::Named { __field_0, __field_1 },
                ) => {
                    <u8 as other::path::__private::Checkpointable>::apply(
                        __field_0_value,
                        __field_0,
                    );
                    <Box<
                        Event<T>,
                    > as other::path::__private::Checkpointable>::apply(
                        __field_1_value,
                        __field_1,
                    );
                }
                (__this, __staged) => {
                    *__this = <Self as other::path::__private::Rebuild>::rebuild(
                        __staged,
                    );
                }
            }
        }
    }
    #[automatically_derived]
    impl<T> other::path::__private::Rebuild for Event<T>
    where
        T: other::path::__private::Rebuild,
        T: other::path::__private::Rebuild,
    {
        #[inline]
        fn rebuild(__staged: __Staged<T>) -> Self {
            match __staged {
                __Staged::Nothing {} => Event::Nothing {},
                __Staged::One { __field_0 } => {
                    Event::One {
                        0: <T as other::path::__private::Rebuild>::rebuild(__field_0),
                        1: <Socket as ::core::default::Default>::default(),
                    }
                }
                __Staged::Named { __field_0, __field_1 } => {
                    Event::Named {
                        number: <u8 as other::path::__private::Rebuild>::rebuild(
                            __field_0,
                        ),
                        next: <Box<
                            Event<T>,
                        > as other::path::__private::Rebuild>::rebuild(__field_1),
                    }
                }
                __Staged::__Marker(__never, _) => match __never {}
            }
        }
    }
};
