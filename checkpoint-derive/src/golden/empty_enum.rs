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
    pub enum __Staged {
        __Marker(
            ::core::convert::Infallible,
            ::core::marker::PhantomData<fn() -> Never>,
        ),
    }
    #[automatically_derived]
    impl ::checkpoint::__private::Checkpointable for Never {
        type Staged = __Staged;
        const MIN_SIZE: ::core::primitive::usize = 4;
        const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Enum(
            &[],
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
                    match *self {}
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
                    ::core::result::Result::Ok(
                        match ::checkpoint::__private::read_variant(__decoder)? {
                            __number => {
                                return ::core::result::Result::Err(
                                    ::checkpoint::__private::Decoder::unknown_variant(
                                        __decoder,
                                        __number,
                                        0u32,
                                    ),
                                );
                            }
                        },
                    )
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
                    match __staged {
                        __Staged::__Marker(__never, _) => match *__never {}
                    }
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged) {
            match (self, __staged) {
                (__this, __staged) => {
                    *__this = <Self as ::checkpoint::__private::Rebuild>::rebuild(
                        __staged,
                    );
                }
            }
        }
    }
    #[automatically_derived]
    impl ::checkpoint::__private::Rebuild for Never {
        #[inline]
        fn rebuild(__staged: __Staged) -> Self {
            match __staged {
                __Staged::__Marker(__never, _) => match __never {}
            }
        }
    }
};
