//! Prints the generated code.
//!
//! Everything is in a `const _`, by full paths, so that it works whatever names the user's module
//! gives to its own things. Variables begin with two underscores, because a constant of the user's
//! with the name of a variable would become a pattern.

mod enumeration;
mod field;
mod run;
mod structure;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use crate::ast::{Body, Item};
use crate::bound::{self, Bounds};
use crate::tokens;

/// The parts of the impls that differ between structs and enums.
struct Parts {
    /// The fields or variants of the companion type, with the keyword before it.
    staged_keyword: TokenStream,
    staged_body: TokenStream,
    min_size: TokenStream,
    schema: TokenStream,
    encode: TokenStream,
    decode: TokenStream,
    encode_staged: TokenStream,
    apply: TokenStream,
    /// Overridden hidden items of the trait.
    overridden: TokenStream,
    rebuild: TokenStream,
}

/// What all printing functions need.
struct Context<'a> {
    item: &'a Item,
    /// The path of the module with what generated code uses.
    private: TokenStream,
}

pub(crate) fn expand(item: &Item) -> TokenStream {
    let krate = &item.krate;
    let context = Context { item, private: quote!(#krate::__private) };
    let parts = match &item.body {
        Body::Struct(fields) => structure::parts(&context, fields),
        Body::Enum(variants) => enumeration::parts(&context, variants),
    };
    let bounds = bound::infer(item, &context.private);
    context.print(&parts, &bounds)
}

impl Context<'_> {
    fn print(&self, parts: &Parts, bounds: &Bounds) -> TokenStream {
        let staged = self.print_staged(parts, bounds);
        let checkpointable = self.print_checkpointable(parts, bounds);
        let rebuild = self.item.is_rebuildable().then(|| self.print_rebuild(parts, bounds));
        quote! {
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
                #staged
                #checkpointable
                #rebuild
            };
        }
    }

    /// The companion type: what is stored, decoded completely before it is applied.
    fn print_staged(&self, parts: &Parts, bounds: &Bounds) -> TokenStream {
        let Parts { staged_keyword, staged_body, .. } = parts;
        let (impl_generics, _, _) = self.item.generics.split_for_impl();
        let predicates = self.predicates(&[&bounds.checkpointable]);
        quote! {
            pub #staged_keyword __Staged #impl_generics #predicates #staged_body
        }
    }

    fn print_checkpointable(&self, parts: &Parts, bounds: &Bounds) -> TokenStream {
        let Parts { min_size, schema, encode, decode, encode_staged, apply, overridden, .. } =
            parts;
        let (private, name) = (&self.private, &self.item.name);
        let (impl_generics, arguments, _) = self.item.generics.split_for_impl();
        let predicates = self.predicates(&[&bounds.checkpointable]);
        quote! {
            #[automatically_derived]
            impl #impl_generics #private::Checkpointable for #name #arguments #predicates {
                type Staged = __Staged #arguments;
                const MIN_SIZE: ::core::primitive::usize = #min_size;
                const SCHEMA: &'static #private::Schema = #schema;

                #[inline]
                fn encode(
                    &self,
                    __encoder: &mut #private::Encoder,
                ) -> ::core::result::Result<(), #private::EncodeError> {
                    #private::encode_nested::<Self>(__encoder, |__encoder| {
                        #encode
                        ::core::result::Result::Ok(())
                    })
                }

                #[inline]
                fn decode(
                    __decoder: &mut #private::Decoder<'_>,
                ) -> ::core::result::Result<__Staged #arguments, #private::DecodeError> {
                    #private::decode_nested::<Self, _>(__decoder, |__decoder| {
                        ::core::result::Result::Ok(#decode)
                    })
                }

                fn encode_staged(
                    __staged: &__Staged #arguments,
                    __encoder: &mut #private::Encoder,
                ) -> ::core::result::Result<(), #private::EncodeError> {
                    #private::encode_nested::<Self>(__encoder, |__encoder| {
                        #encode_staged
                        ::core::result::Result::Ok(())
                    })
                }

                #[inline]
                fn apply(&mut self, __staged: __Staged #arguments) {
                    #apply
                }

                #overridden
            }
        }
    }

    fn print_rebuild(&self, parts: &Parts, bounds: &Bounds) -> TokenStream {
        let rebuild = &parts.rebuild;
        let (private, name) = (&self.private, &self.item.name);
        let (impl_generics, arguments, _) = self.item.generics.split_for_impl();
        let predicates = self.predicates(&[&bounds.checkpointable, &bounds.rebuild]);
        quote! {
            #[automatically_derived]
            impl #impl_generics #private::Rebuild for #name #arguments #predicates {
                #[inline]
                fn rebuild(__staged: __Staged #arguments) -> Self {
                    #rebuild
                }
            }
        }
    }

    /// The where-clause: the type's own predicates and the inferred ones.
    fn predicates(&self, inferred: &[&[TokenStream]]) -> TokenStream {
        let own = self.item.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
        // In the companion type, `Self` would mean that.
        let own = own.map(|predicate| {
            let tokens = predicate.to_token_stream();
            tokens::replace_self(tokens, &self.item.name, &self.item.generics)
        });
        let inferred = inferred.iter().flat_map(|predicates| predicates.iter().cloned());
        let all: Vec<_> = own.chain(inferred).collect();
        if all.is_empty() { TokenStream::new() } else { quote!(where #(#all),*) }
    }

    /// What makes the companion type mention every parameter of the type.
    fn marker_type(&self) -> TokenStream {
        let name = &self.item.name;
        let (_, arguments, _) = self.item.generics.split_for_impl();
        quote!(::core::marker::PhantomData<fn() -> #name #arguments>)
    }
}
