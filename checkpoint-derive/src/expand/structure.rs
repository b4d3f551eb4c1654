//! Prints the code for a struct.

use quote::{quote, quote_spanned};

use super::{Context, Parts};
use crate::ast::Field;

pub(super) fn parts(context: &Context<'_>, fields: &[Field]) -> Parts {
    let private = &context.private;
    let name = &context.item.name;
    let marker = context.marker_type();
    let stored: Vec<&Field> = fields.iter().filter(|field| field.is_stored()).collect();
    let variables: Vec<_> = stored.iter().map(|field| &field.variable).collect();
    let staged_fields = stored.iter().map(|field| context.staged_field(field));
    let schema = context.schema_fields(&stored);
    let encode = stored.iter().map(|field| {
        let member = &field.member;
        context.encode(field, &field.name, &quote_spanned!(field.span=> &self.#member))
    });
    let decode = stored.iter().map(|field| context.decode(field, &field.name));
    let apply = stored.iter().map(|field| {
        let (member, variable) = (&field.member, &field.variable);
        let place = quote_spanned!(field.span=> &mut self.#member);
        context.apply(field, &place, &quote!(staged.#variable))
    });
    let rebuild = fields.iter().map(|field| {
        let variable = &field.variable;
        context.rebuild(field, &quote!(staged.#variable))
    });
    Parts {
        staged_keyword: quote!(struct),
        staged_body: quote!({ #(#staged_fields,)* marker: #marker }),
        min_size: context.min_size(&stored),
        schema: quote!(&#private::Schema::Struct(#schema)),
        encode: quote!(#(#encode)*),
        decode: quote!({
            #(#decode)*
            __Staged { #(#variables,)* marker: ::core::marker::PhantomData }
        }),
        apply: quote!(#(#apply)*),
        rebuild: quote!(#name { #(#rebuild),* }),
    }
}
