//! Prints the code that encodes fields, several numbers in a row as one.
//!
//! Each write to the encoder checks its limit and the room in its buffer, which for a number is
//! most of the work. So neighbours that look like numbers are put together on the stack first.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;

use super::Context;
use crate::ast::{Field, Storage};

/// The types that a run is made of. If one is called so and is another, its fields are encoded one
/// by one.
const NUMBERS: [&str; 13] =
    ["u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "f32", "f64", "bool"];

/// A field that is to be encoded.
pub(super) struct Place<'a> {
    pub(super) field: &'a Field,
    /// Its name in errors.
    pub(super) name: String,
    /// The expression of a reference to it.
    pub(super) reference: TokenStream,
}

impl Context<'_> {
    /// The statements that encode the fields in order.
    pub(super) fn encode_all(&self, places: &[Place<'_>]) -> TokenStream {
        let is_number = |place: &Place<'_>| self.is_number(place.field);
        places
            .chunk_by(|one, next| is_number(one) && is_number(next))
            .map(|places| match places {
                [one] => self.encode(one.field, &one.name, &one.reference),
                run => self.encode_run(run),
            })
            .collect()
    }

    fn encode_run(&self, places: &[Place<'_>]) -> TokenStream {
        let private = &self.private;
        let types: Vec<_> = places.iter().map(|place| &place.field.ty).collect();
        let references = places.iter().map(|place| &place.reference);
        let one_by_one = places.iter().map(|place| {
            // Also if there is no room for all: the first that does not fit is named.
            self.encode(place.field, &place.name, &place.reference)
        });
        quote! {{
            const __SIZE: ::core::primitive::usize = #private::run_size(
                &[#(<#types as #private::Checkpointable>::FIXED_SIZE),*],
            );
            let mut __run = [0; __SIZE];
            if __SIZE > 0 {
                let __place: &mut [::core::primitive::u8] = &mut __run;
                #(
                    let __place =
                        <#types as #private::Checkpointable>::encode_fixed(#references, __place);
                )*
            }
            if __SIZE == 0 || !#private::write_run(__encoder, &__run) {
                #(#one_by_one)*
            }
        }}
    }

    fn is_number(&self, field: &Field) -> bool {
        let Type::Path(ty) = &field.ty else { return false };
        let Some(ident) = ty.path.get_ident() else { return false };
        let is_parameter =
            self.item.generics.type_params().any(|parameter| parameter.ident == *ident);
        matches!(field.storage, Storage::Native)
            && ty.qself.is_none()
            && !is_parameter
            && NUMBERS.iter().any(|number| ident == number)
    }
}
