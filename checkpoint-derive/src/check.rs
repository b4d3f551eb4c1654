//! Judges the parsed type as a whole.

use syn::{DeriveInput, Meta, Token};

use crate::ast::{Body, Item, Storage};
use crate::errors::Errors;

pub(crate) fn check(item: &Item, input: &DeriveInput, errors: &mut Errors) {
    packed(input, errors);
    transient_in_variant(item, input, errors);
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
