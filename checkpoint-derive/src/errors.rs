//! The mistakes found so far.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Collects the mistakes of a type, so that all are reported in one go.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// Adds a mistake, at the tokens that are at fault.
    pub(crate) fn push(&mut self, at: impl ToTokens, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new_spanned(at, message));
    }

    /// Adds a mistake at a place.
    pub(crate) fn push_at(&mut self, at: Span, message: &str) {
        self.0.push(syn::Error::new(at, message));
    }

    /// Adds what the parser found.
    pub(crate) fn push_syn(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// Returns the `compile_error!`s, or nothing if there are no mistakes.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.0.iter().map(syn::Error::to_compile_error).collect())
    }
}
