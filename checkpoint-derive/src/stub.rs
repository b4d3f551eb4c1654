//! What is generated for a type with mistakes.
//!
//! The impls do nothing. They are there so that the user sees our messages and not also, at each
//! use of the type, that it cannot be stored.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};

use crate::ast::{Body, Field, Item, Storage};
use crate::check::never_storable;
use crate::tokens::mentions;

pub(crate) fn expand(item: &Item, compile_errors: TokenStream) -> TokenStream {
    let name = &item.name;
    let krate = &item.krate;
    let private = quote!(#krate::__private);
    let (impl_generics, arguments, where_clause) = item.generics.split_for_impl();
    let fields = item.fields().filter(|field| is_for_the_compiler_to_judge(field, item));
    let fields = fields.map(|field| {
        let ty = &field.ty;
        match item.body {
            Body::Struct(_) => {
                quote_spanned!(field.span=> let _ = <#ty as #private::Checkpointable>::apply;)
            }
            Body::Enum(_) => {
                quote_spanned!(field.span=> let _ = <#ty as #private::Rebuild>::rebuild;)
            }
        }
    });
    quote! {
        #compile_errors

        // What else is wrong with the fields is said in the same go.
        const _: fn() = || {
            #(#fields)*
        };

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

/// Whether all that can be wrong with the field is that its type cannot be stored.
fn is_for_the_compiler_to_judge(field: &Field, item: &Item) -> bool {
    let parameters = || {
        item.generics.params.iter().map(|parameter| match parameter {
            syn::GenericParam::Lifetime(parameter) => &parameter.lifetime.ident,
            syn::GenericParam::Type(parameter) => &parameter.ident,
            syn::GenericParam::Const(parameter) => &parameter.ident,
        })
    };
    matches!(field.storage, Storage::Native)
        && never_storable(&field.ty).is_none()
        && !mentions(field.ty.to_token_stream(), |ident| parameters().any(|name| name == ident))
}
