//! Generated code gives no warnings, whatever the user has turned on.
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, rust_2018_idioms)]
#![deny(single_use_lifetimes, unused_lifetimes, missing_debug_implementations)]
#![deny(trivial_casts, trivial_numeric_casts, let_underscore_drop)]
#![deny(non_ascii_idents, unused_results, variant_size_differences, unit_bindings)]
#![deny(elided_lifetimes_in_paths, explicit_outlives_requirements, meta_variable_misuse)]
#![forbid(unsafe_code)]

use checkpoint::Checkpointable;

/// A documented struct.
#[derive(Checkpointable, Debug)]
pub struct Pe<'a, T>
where
    T: Clone + 'a,
{
    /// Stored.
    pub number: u64,
    /// Stored.
    pub values: Vec<T>,
    /// Not stored.
    #[transient]
    pub borrowed: &'a str,
    /// Stored through serde.
    #[checkpoint(serde, version = 1)]
    pub text: String,
    /// Of a private type.
    hidden: Hidden,
}

#[derive(Checkpointable, Debug, Clone)]
struct Hidden(u64, #[transient(default = 3)] u8);

/// A documented enum.
#[derive(Checkpointable, Debug)]
pub enum Event {
    /// Nothing.
    Nothing,
    /// Something.
    Something {
        /// Stored.
        number: u64,
        /// Not stored.
        #[transient(default)]
        cache: Option<u8>,
    },
}

/// An enum without values.
#[derive(Checkpointable, Debug, Clone, Copy)]
pub enum Never {}

/// A struct without fields.
#[derive(Checkpointable, Debug, Clone, Copy)]
pub struct Unit;

/// No longer to be used.
#[deprecated]
#[derive(Checkpointable, Debug, Clone, Copy)]
pub struct Old {
    /// No longer to be used.
    #[deprecated]
    pub number: u8,
}

fn main() {
    println!("{:?}", Hidden(1, 2).clone().1);
    let pe = Pe::<u64> {
        number: 1,
        values: vec![],
        borrowed: "",
        text: String::new(),
        hidden: Hidden(1, 2),
    };
    println!("{:?}", pe.hidden.0);
}
