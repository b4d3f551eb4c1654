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
        marker: ::core::marker::PhantomData<fn() -> Unit>,
    }
    #[automatically_derived]
    impl ::checkpoint::__private::Checkpointable for Unit {
        type Staged = __Staged;
        const MIN_SIZE: ::core::primitive::usize = 0;
        const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Struct(
            &[],
        );
        #[inline]
        fn encode(
            &self,
            __encoder: &mut ::checkpoint::__private::Encoder,
        ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
            ::checkpoint::__private::encode_nested::<
                Self,
            >(__encoder, |__encoder| { ::core::result::Result::Ok(()) })
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
                        __Staged {
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
                    let __Staged { marker: _ } = __staged;
                    ::core::result::Result::Ok(())
                },
            )
        }
        #[inline]
        fn apply(&mut self, __staged: __Staged) {
            let __Staged { marker: _ } = __staged;
        }
        const FIXED_SIZE: ::core::option::Option<::core::primitive::usize> = ::checkpoint::__private::fixed_size(
            &[],
        );
        #[inline]
        fn encode_fixed<'__checkpoint>(
            &self,
            __place: &'__checkpoint mut [::core::primitive::u8],
        ) -> &'__checkpoint mut [::core::primitive::u8] {
            __place
        }
    }
    #[automatically_derived]
    impl ::checkpoint::__private::Rebuild for Unit {
        #[inline]
        fn rebuild(__staged: __Staged) -> Self {
            let __Staged { marker: _ } = __staged;
            Unit {}
        }
    }
};
