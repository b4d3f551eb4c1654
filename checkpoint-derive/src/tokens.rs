//! Small changes to tokens.

use proc_macro2::{Group, Spacing, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Generics, Ident, Type};

/// The place of the first token.
pub(crate) fn first_span(tokens: &impl ToTokens) -> Span {
    fn first(tokens: TokenStream) -> Option<Span> {
        match tokens.into_iter().next()? {
            // What a `macro_rules` fragment stands for.
            TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::None => {
                first(group.stream())
            }
            token => Some(token.span()),
        }
    }
    first(tokens.to_token_stream()).unwrap_or_else(Span::call_site)
}

/// The same type with each token at one place; what its names refer to stays as it is.
pub(crate) fn at_one_place(ty: &Type, place: Span) -> Type {
    syn::parse2(relocate(ty.to_token_stream(), place)).unwrap_or_else(|_| ty.clone())
}

fn relocate(tokens: TokenStream, place: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| {
            let span = token.span().located_at(place);
            let mut token = match token {
                TokenTree::Group(group) => {
                    let stream = relocate(group.stream(), place);
                    TokenTree::Group(Group::new(group.delimiter(), stream))
                }
                token => token,
            };
            token.set_span(span);
            token
        })
        .collect()
}

/// The same type with the type's name for `Self`, which inside the companion type would mean that.
pub(crate) fn without_self(ty: &Type, name: &Ident, generics: &Generics) -> Type {
    let tokens = ty.to_token_stream();
    if !mentions(tokens.clone(), |ident| ident == "Self") {
        return ty.clone();
    }
    syn::parse2(replace_self(tokens, name, generics)).unwrap_or_else(|_| ty.clone())
}

/// The same tokens with the type's name for `Self`.
pub(crate) fn replace_self(tokens: TokenStream, name: &Ident, generics: &Generics) -> TokenStream {
    let (_, arguments, _) = generics.split_for_impl();
    let mut replaced = TokenStream::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Ident(ident) if ident == "Self" => {
                let followed_by_colons = matches!(
                    rest.peek(),
                    Some(TokenTree::Punct(punct))
                        if punct.as_char() == ':' && punct.spacing() == Spacing::Joint
                );
                replaced.extend(if followed_by_colons {
                    quote!(<#name #arguments>)
                } else {
                    quote!(#name #arguments)
                });
            }
            TokenTree::Group(group) => {
                let stream = replace_self(group.stream(), name, generics);
                let mut inner = Group::new(group.delimiter(), stream);
                inner.set_span(group.span());
                replaced.extend([TokenTree::Group(inner)]);
            }
            token => replaced.extend([token]),
        }
    }
    replaced
}

/// Whether an identifier of that kind is among the tokens.
pub(crate) fn mentions(tokens: TokenStream, is_meant: impl Fn(&Ident) -> bool + Copy) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => is_meant(&ident),
        TokenTree::Group(group) => mentions(group.stream(), is_meant),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
