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
    pub struct __Staged<'a, T>
    where
        T: Clone,
        Vec<T>: ::checkpoint::__private::Checkpointable,
        T: ::checkpoint::__private::Rebuild,
    {
        __field_0: <u64 as ::checkpoint::__private::Checkpointable>::Staged,
        __field_1: <Vec<T> as ::checkpoint::__private::Checkpointable>::Staged,
        __field_2: <Inner as ::checkpoint::__private::Checkpointable>::Staged,
        __field_3: <Option<
            Box<Session<'a, T>>,
        > as ::checkpoint::__private::Checkpointable>::Staged,
        __field_6: Money,
        marker: ::core::marker::PhantomData<fn() -> Session<'a, T>>,
    }
    #[automatically_derived]
    impl<'a, T> ::checkpoint::__private::Checkpointable for Session<'a, T>
    where
        T: Clone,
        Vec<T>: ::checkpoint::__private::Checkpointable,
        T: ::checkpoint::__private::Rebuild,
    {
        type Staged = __Staged<'a, T>;
        const MIN_SIZE: ::core::primitive::usize = 0
            + <u64 as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <Vec<T> as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <Inner as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <Option<
                Box<Session<'a, T>>,
            > as ::checkpoint::__private::Checkpointable>::MIN_SIZE + 8;
        const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Struct(
            &[
                ::checkpoint::__private::SchemaField {
                    name: "type",
                    schema: <u64 as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "values",
                    schema: <Vec<T> as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "inner",
                    schema: <Inner as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "next",
                    schema: <Option<
                        Box<Session<'a, T>>,
                    > as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "by_serde",
                    schema: || const { &::checkpoint::__private::Schema::Serde(2u32) },
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
                        <u64 as ::checkpoint::__private::Checkpointable>::encode(
                            &self.r#type,
                            __encoder,
                        ),
                        "type",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Vec<
                            T,
                        > as ::checkpoint::__private::Checkpointable>::encode(
                            &self.values,
                            __encoder,
                        ),
                        "values",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Inner as ::checkpoint::__private::Checkpointable>::encode(
                            &self.inner,
                            __encoder,
                        ),
                        "inner",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Option<
                            Box<Session<'a, T>>,
                        > as ::checkpoint::__private::Checkpointable>::encode(
                            &self.next,
                            __encoder,
                        ),
                        "next",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Money as ::checkpoint::__private::SerdeField>::encode(
                            &self.by_serde,
                            __encoder,
                        ),
                        "by_serde",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn decode(
            __decoder: &mut ::checkpoint::__private::Decoder<'_>,
        ) -> ::core::result::Result<
            __Staged<'a, T>,
            ::checkpoint::__private::DecodeError,
        > {
            ::checkpoint::__private::decode_nested::<
                Self,
                _,
            >(
                __decoder,
                |__decoder| {
                    ::core::result::Result::Ok({
                        let __field_0 = ::checkpoint::__private::decoded_field(
                            <u64 as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "type",
                        )?;
                        let __field_1 = ::checkpoint::__private::decoded_field(
                            <Vec<
                                T,
                            > as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "values",
                        )?;
                        let __field_2 = ::checkpoint::__private::decoded_field(
                            <Inner as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "inner",
                        )?;
                        let __field_3 = ::checkpoint::__private::decoded_field(
                            <Option<
                                Box<Session<'a, T>>,
                            > as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "next",
                        )?;
                        let __field_6 = ::checkpoint::__private::decoded_field(
                            <Money as ::checkpoint::__private::SerdeField>::decode(
                                __decoder,
                            ),
                            "by_serde",
                        )?;
                        __Staged {
                            __field_0,
                            __field_1,
                            __field_2,
                            __field_3,
                            __field_6,
                            marker: ::core::marker::PhantomData,
                        }
                    })
                },
            )
        }
        fn encode_staged(
            __staged: &__Staged<'a, T>,
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
                        __field_6,
                        marker: _,
                    } = __staged;
                    ::checkpoint::__private::encoded_field(
                        <u64 as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_0,
                            __encoder,
                        ),
                        "type",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Vec<
                            T,
                        > as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_1,
                            __encoder,
                        ),
                        "values",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Inner as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_2,
                            __encoder,
                        ),
                        "inner",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Option<
                            Box<Session<'a, T>>,
                        > as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_3,
                            __encoder,
                        ),
                        "next",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <Money as ::checkpoint::__private::SerdeField>::encode(
                            __field_6,
                            __encoder,
                        ),
                        "by_serde",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged<'a, T>) {
            let __Staged {
                __field_0,
                __field_1,
                __field_2,
                __field_3,
                __field_6,
                marker: _,
            } = __staged;
            <u64 as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.r#type,
                __field_0,
            );
            <Vec<
                T,
            > as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.values,
                __field_1,
            );
            <Inner as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.inner,
                __field_2,
            );
            <Option<
                Box<Session<'a, T>>,
            > as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.next,
                __field_3,
            );
            {
                let __place: &mut Money = &mut self.by_serde;
                *__place = __field_6;
            }
        }
    }
    #[automatically_derived]
    impl<'a, T> ::checkpoint::__private::Rebuild for Session<'a, T>
    where
        T: Clone,
        Vec<T>: ::checkpoint::__private::Checkpointable,
        T: ::checkpoint::__private::Rebuild,
        Vec<T>: ::checkpoint::__private::Rebuild,
        for<'__checkpoint> Inner: ::checkpoint::__private::Rebuild,
    {
        #[inline]
        fn rebuild(__staged: __Staged<'a, T>) -> Self {
            let __Staged {
                __field_0,
                __field_1,
                __field_2,
                __field_3,
                __field_6,
                marker: _,
            } = __staged;
            Session {
                r#type: <u64 as ::checkpoint::__private::Rebuild>::rebuild(__field_0),
                values: <Vec<T> as ::checkpoint::__private::Rebuild>::rebuild(__field_1),
                inner: <Inner as ::checkpoint::__private::Rebuild>::rebuild(__field_2),
                next: <Option<
                    Box<Session<'a, T>>,
                > as ::checkpoint::__private::Rebuild>::rebuild(__field_3),
                cache: 7,
                name: <&'a str as ::core::default::Default>::default(),
                by_serde: __field_6,
            }
        }
    }
};
