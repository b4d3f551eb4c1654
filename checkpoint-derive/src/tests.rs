//! Golden expansions: what the derive generates, formatted, in `golden/`.
//!
//! Run with `CHECKPOINT_BLESS=1` to write them anew; then read the difference.

use std::path::Path;
use std::{env, fs};

use quote::quote;
use syn::DeriveInput;

#[track_caller]
fn check(name: &str, input: proc_macro2::TokenStream) {
    let input: DeriveInput = syn::parse2(input).unwrap();
    let expanded = syn::parse2(crate::derive(&input)).unwrap();
    let expanded = prettyplease::unparse(&expanded);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(name);
    if env::var_os("CHECKPOINT_BLESS").is_some() {
        fs::write(&path, &expanded).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, expanded, "{} is not what is generated", path.display());
}

#[test]
fn a_struct() {
    check(
        "struct.rs",
        quote! {
            struct Session<'a, T>
            where
                T: Clone,
            {
                r#type: u64,
                values: Vec<T>,
                inner: Inner,
                next: Option<Box<Self>>,
                #[transient(default = 7)]
                cache: u32,
                #[transient(default)]
                name: &'a str,
                #[checkpoint(serde, version = 2)]
                by_serde: Money,
            }
        },
    );
}

#[test]
fn a_struct_of_fixed_size() {
    check("tuple_struct.rs", quote! { struct Point(u64, #[transient] Socket, f64); });
}

#[test]
fn a_struct_with_numbers_in_a_row() {
    check(
        "run.rs",
        quote! { struct Order<u8> { id: u32, open: bool, of: String, by: u8, to: u8 } },
    );
}

#[test]
fn an_enum() {
    check(
        "enum.rs",
        quote! {
            #[checkpoint(crate = "other::path")]
            enum Event<T> {
                Nothing,
                One(T, #[transient(default)] Socket),
                Named { number: u8, next: Box<Event<T>> },
            }
        },
    );
}

#[test]
fn a_type_without_values_or_fields() {
    check("empty_enum.rs", quote! { enum Never {} });
    check("unit_struct.rs", quote! { struct Unit; });
}

#[test]
fn a_given_bound() {
    check("bound.rs", quote! { #[checkpoint(bound = "T: Rebuild")] struct Holder<T>(Alias<T>); });
}

#[test]
fn a_type_with_mistakes() {
    check(
        "mistakes.rs",
        quote! { struct Wrong<T> { #[checkpoint(serde)] first: T, second: &str } },
    );
}
