//! The derive macro of the `checkpoint` crate, which re-exports it and documents it with examples.
//!
//! # Attributes of a type
//!
//! - `#[checkpoint(crate = "path")]`: where the crate `checkpoint` is, if it was renamed.
//! - `#[checkpoint(bound = "T: Trait")]`: the bounds of the impls, instead of the inferred ones.
//!
//! # Attributes of a field
//!
//! - `#[transient]`: not stored; a restore keeps its value.
//! - `#[transient(default)]`, `#[transient(default = expression)]`: the same, and the value of the
//!   field where its owner is made anew.
//! - `#[checkpoint(serde, version = 1)]`: stored through serde; the version is part of the schema.

mod ast;
mod attr;
mod bound;
mod check;
mod errors;
mod expand;
mod stub;
mod tokens;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::ast::Item;
use crate::errors::Errors;

/// Derives `Checkpointable`, and `Rebuild` where that is possible.
#[proc_macro_derive(Checkpointable, attributes(transient, checkpoint))]
pub fn derive_checkpointable(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive(&input).into()
}

fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let item = Item::parse(input, &mut errors);
    check::check(&item, input, &mut errors);
    match errors.into_compile_errors() {
        None => expand::expand(&item),
        Some(compile_errors) => stub::expand(&item, compile_errors),
    }
}

#[cfg(test)]
mod tests;
