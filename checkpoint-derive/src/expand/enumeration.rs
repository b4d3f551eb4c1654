//! Prints the code for an enum.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt;

use super::run::Place;
use super::{Context, Parts};
use crate::ast::{Field, Variant};

pub(super) fn parts(context: &Context<'_>, variants: &[Variant]) -> Parts {
    let private = &context.private;
    let printed: Vec<_> =
        (0..).zip(variants).map(|(tag, variant)| print(context, tag, variant)).collect();
    let list = |part: fn(&PrintedVariant) -> &TokenStream| -> TokenStream {
        printed.iter().map(part).cloned().collect()
    };
    let (staged, schema) = (list(|printed| &printed.staged), list(|printed| &printed.schema));
    let (encode, decode) = (list(|printed| &printed.encode), list(|printed| &printed.decode));
    let encode_staged = list(|printed| &printed.encode_staged);
    let (apply, rebuild) = (list(|printed| &printed.apply), list(|printed| &printed.rebuild));
    let marker = context.marker_type();
    let count = (0_u32..).zip(variants).count();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Parts {
        staged_keyword: quote!(enum),
        // The last variant has no values; it is there to mention the parameters.
        staged_body: quote!({ #staged __Marker(::core::convert::Infallible, #marker) }),
        // The number of the variant. That of its fields would go round in circles for types that
        // contain themselves.
        min_size: quote!(4),
        schema: quote!(&#private::Schema::Enum(&[#schema])),
        encode: quote!(match *self { #encode }),
        decode: quote!(match #private::read_variant(__decoder)? {
            #decode
            __number => {
                return ::core::result::Result::Err(
                    #private::Decoder::unknown_variant(__decoder, __number, #count),
                );
            }
        }),
        encode_staged: quote!(match __staged {
            #encode_staged
            __Staged::__Marker(__never, _) => match *__never {},
        }),
        apply: quote!(match (self, __staged) {
            #apply
            (__this, __staged) => *__this = <Self as #private::Rebuild>::rebuild(__staged),
        }),
        overridden: TokenStream::new(),
        rebuild: quote!(match __staged {
            #rebuild
            __Staged::__Marker(__never, _) => match __never {},
        }),
    }
}

/// The match arms and list items of one variant.
struct PrintedVariant {
    staged: TokenStream,
    schema: TokenStream,
    encode: TokenStream,
    decode: TokenStream,
    encode_staged: TokenStream,
    apply: TokenStream,
    rebuild: TokenStream,
}

fn print(context: &Context<'_>, tag: u32, variant: &Variant) -> PrintedVariant {
    let (private, name, ident) = (&context.private, &context.item.name, &variant.ident);
    let variant_name = ident.unraw().to_string();
    let path = |field: &Field| format!("{variant_name}.{}", field.name);
    let stored: Vec<&Field> = variant.fields.iter().filter(|field| field.is_stored()).collect();
    let members: Vec<_> = stored.iter().map(|field| &field.member).collect();
    let variables: Vec<_> = stored.iter().map(|field| &field.variable).collect();
    let values: Vec<_> = stored.iter().map(|field| value_variable(field)).collect();

    let staged_fields = stored.iter().map(|field| context.staged_field(field));
    let schema_fields = context.schema_fields(&stored);
    let places = stored.iter().map(|field| {
        let variable = &field.variable;
        Place { field, name: path(field), reference: quote!(#variable) }
    });
    let encode = context.encode_all(&places.collect::<Vec<_>>());
    let decode = stored.iter().map(|field| context.decode(field, &path(field)));
    let encode_staged = stored.iter().map(|field| context.encode_staged(field, &path(field)));
    let apply = stored.iter().zip(&values).map(|(field, value)| {
        let variable = &field.variable;
        context.apply(field, &quote!(#value), &quote!(#variable))
    });
    let rebuild = variant.fields.iter().map(|field| {
        let variable = &field.variable;
        context.rebuild(field, &quote!(#variable))
    });
    PrintedVariant {
        staged: quote!(#ident { #(#staged_fields),* },),
        schema: quote!(
            #private::SchemaVariant { name: #variant_name, fields: #schema_fields },
        ),
        encode: quote!(
            #name::#ident { #(#members: ref #variables,)* .. } => {
                #private::write_variant(__encoder, #tag)?;
                #encode
            }
        ),
        decode: quote!(
            #tag => {
                #(#decode)*
                __Staged::#ident { #(#variables),* }
            }
        ),
        encode_staged: quote!(
            __Staged::#ident { #(#variables),* } => {
                #private::write_variant(__encoder, #tag)?;
                #(#encode_staged)*
            }
        ),
        apply: quote!(
            (#name::#ident { #(#members: #values,)* .. }, __Staged::#ident { #(#variables),* }) => {
                #(#apply)*
            }
        ),
        rebuild: quote!(__Staged::#ident { #(#variables),* } => #name::#ident { #(#rebuild),* },),
    }
}

/// The variable of the field that is restored into, beside the one of the decoded value.
fn value_variable(field: &Field) -> Ident {
    Ident::new(&format!("{}_value", field.variable), field.variable.span())
}
