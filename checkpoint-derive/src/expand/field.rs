//! Prints the code for one field.
//!
//! All tokens that have to do with the type are at its place, so that the compiler folds its
//! complaints about it into one. The generated variables are not: there they would mean other ones
//! where a type is made by a macro.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::Context;
use crate::ast::{Field, Storage, TransientDefault};

impl Context<'_> {
    /// The field of the companion type.
    pub(super) fn staged_field(&self, field: &Field) -> TokenStream {
        let (variable, ty, private) = (&field.variable, &field.ty, &self.private);
        match field.storage {
            Storage::Native => {
                let ty = quote_spanned!(field.span=> <#ty as #private::Checkpointable>::Staged);
                quote!(#variable: #ty)
            }
            Storage::Serde { .. } => quote!(#variable: #ty),
            Storage::Transient(_) => TokenStream::new(),
        }
    }

    pub(super) fn min_size(&self, fields: &[&Field]) -> TokenStream {
        let private = &self.private;
        let sizes = fields.iter().map(|field| {
            let ty = &field.ty;
            match field.storage {
                Storage::Native => {
                    quote_spanned!(field.span=> <#ty as #private::Checkpointable>::MIN_SIZE)
                }
                // The length of the field.
                Storage::Serde { .. } | Storage::Transient(_) => quote!(8),
            }
        });
        quote!(0 #(+ #sizes)*)
    }

    pub(super) fn schema_fields(&self, fields: &[&Field]) -> TokenStream {
        let private = &self.private;
        let fields = fields.iter().map(|field| {
            let (ty, name) = (&field.ty, &field.name);
            let schema = match field.storage {
                Storage::Serde { version } => {
                    quote!(|| const { &#private::Schema::Serde(#version) })
                }
                Storage::Native | Storage::Transient(_) => {
                    quote_spanned!(field.span=> <#ty as #private::Checkpointable>::schema)
                }
            };
            quote!(#private::SchemaField { name: #name, schema: #schema })
        });
        quote!(&[#(#fields),*])
    }

    /// The statement that encodes the field found at `place`, a reference.
    pub(super) fn encode(&self, field: &Field, name: &str, place: &TokenStream) -> TokenStream {
        let (ty, private) = (&field.ty, &self.private);
        let (trait_name, encoder) = (self.trait_of(field), quote!(__encoder));
        quote_spanned! {field.span=>
            #private::encoded_field(
                <#ty as #private::#trait_name>::encode(#place, #encoder),
                #name,
            )?;
        }
    }

    /// The statement that encodes what was decoded, which is in the field's variable, a reference.
    pub(super) fn encode_staged(&self, field: &Field, name: &str) -> TokenStream {
        let (variable, ty, private) = (&field.variable, &field.ty, &self.private);
        let trait_name = self.trait_of(field);
        let method = match field.storage {
            Storage::Serde { .. } => quote!(encode),
            Storage::Native | Storage::Transient(_) => quote!(encode_staged),
        };
        let encoder = quote!(__encoder);
        quote_spanned! {field.span=>
            #private::encoded_field(
                <#ty as #private::#trait_name>::#method(#variable, #encoder),
                #name,
            )?;
        }
    }

    /// The statement that decodes the field into its variable.
    pub(super) fn decode(&self, field: &Field, name: &str) -> TokenStream {
        let (variable, ty, private) = (&field.variable, &field.ty, &self.private);
        let (trait_name, decoder) = (self.trait_of(field), quote!(__decoder));
        quote_spanned! {field.span=>
            let #variable = #private::decoded_field(
                <#ty as #private::#trait_name>::decode(#decoder),
                #name,
            )?;
        }
    }

    /// The statement that moves `staged` into the field found at `place`, a mutable reference.
    pub(super) fn apply(
        &self,
        field: &Field,
        place: &TokenStream,
        staged: &TokenStream,
    ) -> TokenStream {
        let (ty, private) = (&field.ty, &self.private);
        match field.storage {
            Storage::Native => quote_spanned! {field.span=>
                <#ty as #private::Checkpointable>::apply(#place, #staged);
            },
            Storage::Serde { .. } => quote! {{
                let __place: &mut #ty = #place;
                *__place = #staged;
            }},
            Storage::Transient(_) => TokenStream::new(),
        }
    }

    /// The initializer of the field in a value that is made anew of `staged`.
    pub(super) fn rebuild(&self, field: &Field, staged: &TokenStream) -> TokenStream {
        let (member, ty, private) = (&field.member, &field.ty, &self.private);
        let value = match &field.storage {
            Storage::Native => {
                quote_spanned!(field.span=> <#ty as #private::Rebuild>::rebuild(#staged))
            }
            Storage::Serde { .. } => staged.clone(),
            Storage::Transient(Some(TransientDefault::Expression(expression))) => {
                quote!(#expression)
            }
            Storage::Transient(Some(TransientDefault::Trait(span))) => {
                let ty = crate::tokens::at_one_place(ty, *span);
                quote_spanned!(*span=> <#ty as ::core::default::Default>::default())
            }
            // No `Rebuild` is printed for such a type.
            Storage::Transient(None) => TokenStream::new(),
        };
        quote!(#member: #value)
    }

    fn trait_of(&self, field: &Field) -> TokenStream {
        match field.storage {
            Storage::Serde { .. } => quote!(SerdeField),
            Storage::Native | Storage::Transient(_) => quote!(Checkpointable),
        }
    }
}
