//! What is generated for a type with mistakes.
//!
//! The impls do nothing. They are there so that the user sees our messages and not also, at each
//! use of the type, that it cannot be stored.

use proc_macro2::TokenStream;
use quote::quote;

use crate::ast::Item;

pub(crate) fn expand(item: &Item, compile_errors: TokenStream) -> TokenStream {
    let name = &item.name;
    let krate = &item.krate;
    let private = quote!(#krate::__private);
    let (impl_generics, arguments, where_clause) = item.generics.split_for_impl();
    quote! {
        #compile_errors

        #[automatically_derived]
        impl #impl_generics #private::Checkpointable for #name #arguments #where_clause {
            type Staged = ();
            const MIN_SIZE: usize = 0;
            const SCHEMA: &'static #private::Schema = &#private::Schema::Struct(&[]);

            fn encode(
                &self,
                _: &mut #private::Encoder,
            ) -> ::core::result::Result<(), #private::EncodeError> {
                ::core::result::Result::Ok(())
            }

            fn decode(
                _: &mut #private::Decoder<'_>,
            ) -> ::core::result::Result<(), #private::DecodeError> {
                ::core::result::Result::Ok(())
            }

            fn encode_staged(
                _: &(),
                _: &mut #private::Encoder,
            ) -> ::core::result::Result<(), #private::EncodeError> {
                ::core::result::Result::Ok(())
            }

            fn apply(&mut self, _: ()) {}
        }

        #[automatically_derived]
        impl #impl_generics #private::Rebuild for #name #arguments #where_clause {
            fn rebuild(_: ()) -> Self {
                ::core::unreachable!()
            }
        }
    }
}
