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
    pub struct __Staged {
        __field_0: <u64 as ::checkpoint::__private::Checkpointable>::Staged,
        __field_2: <f64 as ::checkpoint::__private::Checkpointable>::Staged,
        marker: ::core::marker::PhantomData<fn() -> Point>,
    }
    #[automatically_derived]
    impl ::checkpoint::__private::Checkpointable for Point {
        type Staged = __Staged;
        const MIN_SIZE: ::core::primitive::usize = 0
            + <u64 as ::checkpoint::__private::Checkpointable>::MIN_SIZE
            + <f64 as ::checkpoint::__private::Checkpointable>::MIN_SIZE;
        const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Struct(
            &[
                ::checkpoint::__private::SchemaField {
                    name: "0",
                    schema: <u64 as ::checkpoint::__private::Checkpointable>::schema,
                },
                ::checkpoint::__private::SchemaField {
                    name: "2",
                    schema: <f64 as ::checkpoint::__private::Checkpointable>::schema,
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
                                <u64 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                                <f64 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                            ],
                        );
                        let mut __run = [0; __SIZE];
                        if __SIZE > 0 {
                            let __place: &mut [::core::primitive::u8] = &mut __run;
                            let __place = <u64 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                                &self.0,
                                __place,
                            );
                            let __place = <f64 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                                &self.2,
                                __place,
                            );
                        }
                        if __SIZE == 0
                            || !::checkpoint::__private::write_run(__encoder, &__run)
                        {
                            ::checkpoint::__private::encoded_field(
                                <u64 as ::checkpoint::__private::Checkpointable>::encode(
                                    &self.0,
                                    __encoder,
                                ),
                                "0",
                            )?;
                            ::checkpoint::__private::encoded_field(
                                <f64 as ::checkpoint::__private::Checkpointable>::encode(
                                    &self.2,
                                    __encoder,
                                ),
                                "2",
                            )?;
                        }
                    }
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn decode(
            __decoder: &mut ::checkpoint::__private::Decoder<'_>,
        ) -> ::core::result::Result<__Staged, ::checkpoint::__private::DecodeError> {
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
                            "0",
                        )?;
                        let __field_2 = ::checkpoint::__private::decoded_field(
                            <f64 as ::checkpoint::__private::Checkpointable>::decode(
                                __decoder,
                            ),
                            "2",
                        )?;
                        __Staged {
                            __field_0,
                            __field_2,
                            marker: ::core::marker::PhantomData,
                        }
                    })
                },
            )
        }
        fn encode_staged(
            __staged: &__Staged,
            __encoder: &mut ::checkpoint::__private::Encoder,
        ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
            ::checkpoint::__private::encode_nested::<
                Self,
            >(
                __encoder,
                |__encoder| {
                    let __Staged { __field_0, __field_2, marker: _ } = __staged;
                    ::checkpoint::__private::encoded_field(
                        <u64 as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_0,
                            __encoder,
                        ),
                        "0",
                    )?;
                    ::checkpoint::__private::encoded_field(
                        <f64 as ::checkpoint::__private::Checkpointable>::encode_staged(
                            __field_2,
                            __encoder,
                        ),
                        "2",
                    )?;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged) {
            let __Staged { __field_0, __field_2, marker: _ } = __staged;
            <u64 as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.0,
                __field_0,
            );
            <f64 as ::checkpoint::__private::Checkpointable>::apply(
                &mut self.2,
                __field_2,
            );
        }
        #[inline]
        fn touch(__value: &Self) -> ::core::primitive::u8 {
            let mut __touched = 0;
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <u64 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                true,
            ) {
                __touched
                    ^= <u64 as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.0,
                    );
            }
            if ::checkpoint::__private::touches(
                <Self as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <f64 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                false,
            ) {
                __touched
                    ^= <f64 as ::checkpoint::__private::Checkpointable>::touch(
                        &__value.2,
                    );
            }
            __touched
        }
        const FIXED_SIZE: ::core::option::Option<::core::primitive::usize> = ::checkpoint::__private::fixed_size(
            &[
                <u64 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
                <f64 as ::checkpoint::__private::Checkpointable>::FIXED_SIZE,
            ],
        );
        #[inline]
        fn encode_fixed<'__checkpoint>(
            &self,
            __place: &'__checkpoint mut [::core::primitive::u8],
        ) -> &'__checkpoint mut [::core::primitive::u8] {
            let __place = <u64 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.0,
                __place,
            );
            let __place = <f64 as ::checkpoint::__private::Checkpointable>::encode_fixed(
                &self.2,
                __place,
            );
            __place
        }
    }
};
