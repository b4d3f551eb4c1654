//! Judges the parsed type as a whole.

use syn::{DeriveInput, GenericArgument, Meta, PathArguments, Token, Type, TypePath};

use crate::ast::{Body, Item, Storage};
use crate::errors::Errors;

pub(crate) fn check(item: &Item, input: &DeriveInput, errors: &mut Errors) {
    packed(input, errors);
    transient_in_variant(item, input, errors);
    for field in item.fields().filter(|field| field.is_stored()) {
        if let Some(message) = never_storable(&field.ty) {
            errors.push_at(field.span, message);
        }
    }
}

/// What can never be stored, not even through serde, has a message of its own.
pub(crate) fn never_storable(mut ty: &Type) -> Option<&'static str> {
    while let Type::Group(group) = ty {
        ty = &group.elem;
    }
    Some(match ty {
        Type::Reference(_) => {
            "a reference cannot be restored; store the value itself, such as `String` for `&str`, \
             or write `#[transient]` on the field"
        }
        Type::Ptr(_) => {
            "a pointer means nothing after a restart; store what it points to, or write \
             `#[transient]` on the field"
        }
        Type::FnPtr(_) => {
            "a function cannot be stored; store an enum that tells which it is, or write \
             `#[transient]` on the field"
        }
        Type::Path(path) if points_to_trait_object(path) => {
            "a trait object cannot be restored, since nothing tells its type; store an enum, or \
             write `#[transient]` on the field"
        }
        _ => return None,
    })
}

/// The fields of a packed type cannot be borrowed, which encoding does.
fn packed(input: &DeriveInput, errors: &mut Errors) {
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        let parse = syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated;
        // What is wrong in `repr` itself, the compiler reports.
        for meta in attribute.parse_args_with(parse).into_iter().flatten() {
            if meta.path().is_ident("packed") {
                errors.push(
                    meta,
                    "the fields of a packed type cannot be borrowed and so cannot be stored; \
                     remove `packed`",
                );
            }
        }
    }
}

/// Whether the type is that of a `Box<dyn Trait>`.
fn points_to_trait_object(path: &TypePath) -> bool {
    let Some(last) = path.path.segments.last() else { return false };
    let PathArguments::AngleBracketed(list) = &last.arguments else { return false };
    // A `PhantomData<dyn Trait>` is no object.
    if !["Box", "Arc", "Rc"].iter().any(|name| last.ident == name) {
        return false;
    }
    let is_object = |argument: &GenericArgument| {
        matches!(argument, GenericArgument::Type(Type::TraitObject(_)))
    };
    list.args.iter().any(is_object)
}

/// A restore that changes the variant makes its fields anew.
fn transient_in_variant(item: &Item, input: &DeriveInput, errors: &mut Errors) {
    let (Body::Enum(variants), syn::Data::Enum(data)) = (&item.body, &input.data) else {
        return;
    };
    for (variant, written) in variants.iter().zip(&data.variants) {
        for (field, written) in variant.fields.iter().zip(&written.fields) {
            if !matches!(field.storage, Storage::Transient(None)) {
                continue;
            }
            let bare = written.attrs.iter().find(|attribute| {
                attribute.path().is_ident("transient") && matches!(attribute.meta, Meta::Path(_))
            });
            if let Some(bare) = bare {
                errors.push(
                    bare.path(),
                    "a restore that changes the variant makes this field anew, so it needs a \
                     value; write `#[transient(default)]` or `#[transient(default = …)]`",
                );
            }
        }
    }
}
