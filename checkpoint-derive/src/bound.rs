//! Infers where-clauses from the stored fields.
//!
//! Three things shape them. A transient field needs no bound. A bound on the type of a field that
//! mentions the type itself sends the compiler round in circles, so the parameters are bound
//! instead. And whether a struct can be rebuilt depends on its fields, so that `Rebuild` is
//! implemented under conditions, but only where the answer is not known: a cycle of types passes a
//! container, a `Box` of one or an enum, which can always be rebuilt.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{GenericArgument, PathArguments, Type};

use crate::ast::{Body, Field, Item, Storage, TransientDefault};
use crate::tokens::mentions;

/// The predicates of the two impls, beside those that the type itself has.
pub(crate) struct Bounds {
    pub(crate) checkpointable: Vec<TokenStream>,
    /// In addition to the former.
    pub(crate) rebuild: Vec<TokenStream>,
}

pub(crate) fn infer(item: &Item, private: &TokenStream) -> Bounds {
    let mut bounds = Bounds { checkpointable: Vec::new(), rebuild: Vec::new() };
    if let Some(given) = &item.bound {
        bounds.checkpointable = given.iter().map(ToTokens::to_token_stream).collect();
        return bounds;
    }
    let parameters = item.generics.type_params().map(|parameter| parameter.ident.to_string());
    let inference =
        Inference { item, private, parameters: parameters.collect(), bounds: &mut bounds };
    inference.run();
    bounds
}

struct Inference<'a> {
    item: &'a Item,
    private: &'a TokenStream,
    parameters: HashSet<String>,
    bounds: &'a mut Bounds,
}

impl Inference<'_> {
    fn run(mut self) {
        for field in self.item.fields() {
            match &field.storage {
                Storage::Native => self.native(field),
                Storage::Serde { .. } => self.serde(field),
                Storage::Transient(default) => self.transient(field, default.as_ref()),
            }
        }
    }

    fn native(&mut self, field: &Field) {
        let (ty, private) = (&field.ty, self.private);
        let is_enum = matches!(self.item.body, Body::Enum(_));
        if self.contains_itself(ty) {
            self.bound_parameters(ty);
        } else if self.mentions_parameter(ty) {
            let span = field.span;
            if is_enum {
                let bound = quote_spanned!(span=> #ty: #private::Rebuild);
                self.bounds.checkpointable.push(bound);
            } else {
                let bound = quote_spanned!(span=> #ty: #private::Checkpointable);
                self.bounds.checkpointable.push(bound);
                let bound = quote_spanned!(span=> #ty: #private::Rebuild);
                self.bounds.rebuild.push(bound);
            }
        } else if !is_enum && !is_always_rebuilt(ty) {
            // The lifetime keeps the compiler from judging the bound at once: if it does not hold,
            // there is no `Rebuild` for this type, and that is no error.
            let lifetime = syn::Lifetime::new("'__checkpoint", Span::mixed_site());
            self.bounds.rebuild.push(quote!(for<#lifetime> #ty: #private::Rebuild));
        }
    }

    fn serde(&mut self, field: &Field) {
        let (ty, private) = (&field.ty, self.private);
        if self.mentions_parameter(ty) {
            let bound = quote_spanned!(field.span=> #ty: #private::SerdeField);
            self.bounds.checkpointable.push(bound);
        }
    }

    fn transient(&mut self, field: &Field, default: Option<&TransientDefault>) {
        let Some(TransientDefault::Trait(span)) = default else { return };
        let ty = &field.ty;
        if self.mentions_parameter(ty) && !self.contains_itself(ty) {
            let bound = quote_spanned!(*span=> #ty: ::core::default::Default);
            match self.item.body {
                // Restoring an enum in place may make it anew.
                Body::Enum(_) => self.bounds.checkpointable.push(bound),
                Body::Struct(_) => self.bounds.rebuild.push(bound),
            }
        }
    }

    fn bound_parameters(&mut self, ty: &Type) {
        let private = self.private;
        for parameter in self.item.generics.type_params() {
            let parameter = &parameter.ident;
            if mentions(ty.to_token_stream(), |ident| ident == parameter) {
                self.bounds.checkpointable.push(quote!(#parameter: #private::Rebuild));
            }
        }
    }

    fn contains_itself(&self, ty: &Type) -> bool {
        mentions(ty.to_token_stream(), |ident| *ident == self.item.name)
    }

    fn mentions_parameter(&self, ty: &Type) -> bool {
        mentions(ty.to_token_stream(), |ident| self.parameters.contains(&ident.to_string()))
    }
}

/// The types that can be rebuilt whenever they can be stored, by name.
const ALWAYS_REBUILT: &[&str] = &[
    "Vec",
    "VecDeque",
    "LinkedList",
    "BinaryHeap",
    "Option",
    "Result",
    "HashMap",
    "HashSet",
    "BTreeMap",
    "BTreeSet",
    "IndexMap",
    "IndexSet",
    "Arc",
    "Rc",
    "Cow",
    "String",
    "bool",
    "char",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "f32",
    "f64",
];

/// Whether a type can be rebuilt whenever it can be stored.
///
/// Goes by names. Where a name stands for another type than that of std, the worst is an error
/// about `Rebuild` for a type that would not have needed it.
fn is_always_rebuilt(ty: &Type) -> bool {
    match ty {
        Type::Group(group) => is_always_rebuilt(&group.elem),
        Type::Paren(paren) => is_always_rebuilt(&paren.elem),
        Type::Array(array) => is_always_rebuilt(&array.elem),
        Type::Tuple(tuple) => tuple.elems.iter().all(is_always_rebuilt),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            if last.ident == "Box" {
                return boxed(&last.arguments).is_some_and(is_always_rebuilt);
            }
            ALWAYS_REBUILT.iter().any(|name| last.ident == name)
        }),
        Type::Slice(_) => true,
        _ => false,
    }
}

fn boxed(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}
