//! Prints the code for a struct.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse_quote;

use super::run::Place;
use super::{Context, Parts};
use crate::ast::{Field, Storage};

pub(super) fn parts(context: &Context<'_>, fields: &[Field]) -> Parts {
    let private = &context.private;
    let name = &context.item.name;
    let marker = context.marker_type();
    let stored: Vec<&Field> = fields.iter().filter(|field| field.is_stored()).collect();
    let variables: Vec<_> = stored.iter().map(|field| &field.variable).collect();
    let staged_fields = stored.iter().map(|field| context.staged_field(field));
    let schema = context.schema_fields(&stored);
    let places = stored.iter().map(|field| {
        let member = &field.member;
        Place { field, name: field.name.clone(), reference: quote!(&self.#member) }
    });
    let encode = context.encode_all(&places.collect::<Vec<_>>());
    let decode = stored.iter().map(|field| context.decode(field, &field.name));
    let encode_staged = stored.iter().map(|field| context.encode_staged(field, &field.name));
    let apply = stored.iter().map(|field| {
        let (member, variable) = (&field.member, &field.variable);
        let place = quote!(&mut self.#member);
        context.apply(field, &place, &quote!(#variable))
    });
    let rebuild = fields.iter().map(|field| {
        let variable = &field.variable;
        context.rebuild(field, &quote!(#variable))
    });
    let destructure = quote!(let __Staged { #(#variables,)* marker: _ } = __staged;);
    Parts {
        staged_keyword: quote!(struct),
        staged_body: quote!({ #(#staged_fields,)* marker: #marker }),
        min_size: context.min_size(&stored),
        schema: quote!(&#private::Schema::Struct(#schema)),
        encode,
        decode: quote!({
            #(#decode)*
            __Staged { #(#variables,)* marker: ::core::marker::PhantomData }
        }),
        encode_staged: quote!(#destructure #(#encode_staged)*),
        apply: quote!(#destructure #(#apply)*),
        overridden: overridden(context, &stored),
        rebuild: quote!(#destructure #name { #(#rebuild),* }),
    }
}

/// Prints the fast path for structs of fixed size, and what brings a struct into the cache.
fn overridden(context: &Context<'_>, stored: &[&Field]) -> TokenStream {
    if stored.iter().any(|field| matches!(field.storage, Storage::Serde { .. })) {
        return TokenStream::new();
    }
    let private = &context.private;
    let sizes = stored.iter().map(|field| {
        let ty = &field.ty;
        quote_spanned!(field.span=> <#ty as #private::Checkpointable>::FIXED_SIZE)
    });
    let writes = stored.iter().map(|field| {
        let (ty, member) = (&field.ty, &field.member);
        let (field_place, place) = (quote!(&self.#member), quote!(__place));
        quote_spanned! {field.span=>
            let #place =
                <#ty as #private::Checkpointable>::encode_fixed(#field_place, #place);
        }
    });
    let touches = stored.iter().enumerate().map(|(index, field)| {
        let (ty, member, is_first) = (&field.ty, &field.member, index == 0);
        let (place, touched) = (quote!(&__value.#member), quote!(__touched));
        let fixed = |ty| quote_spanned!(field.span=> <#ty as #private::Checkpointable>::FIXED_SIZE);
        let (whole, part) = (fixed(&parse_quote!(Self)), fixed(ty));
        quote_spanned! {field.span=>
            if #private::touches(#whole, #part, #is_first) {
                #touched ^= <#ty as #private::Checkpointable>::touch(#place);
            }
        }
    });
    let touch = (!stored.is_empty()).then(|| {
        quote! {
            #[inline]
            fn touch(__value: &Self) -> ::core::primitive::u8 {
                let mut __touched = 0;
                #(#touches)*
                __touched
            }
        }
    });
    quote! {
        #touch

        const FIXED_SIZE: ::core::option::Option<::core::primitive::usize> =
            #private::fixed_size(&[#(#sizes),*]);

        #[inline]
        fn encode_fixed<'__checkpoint>(
            &self,
            __place: &'__checkpoint mut [::core::primitive::u8],
        ) -> &'__checkpoint mut [::core::primitive::u8] {
            #(#writes)*
            __place
        }
    }
}
