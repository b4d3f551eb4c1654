//! The derive macro of the `checkpoint` crate, which re-exports it.

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
