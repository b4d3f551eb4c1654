//! The crate may have another name where it is used.
#![no_implicit_prelude]

extern crate checkpoint as stored;
extern crate std;

mod inner {
    #[derive(::stored::Checkpointable)]
    #[checkpoint(crate = "::stored")]
    pub struct Pe {
        pub number: u64,
        #[checkpoint(serde, version = 1)]
        pub text: ::std::string::String,
    }
}

fn main() {
    let _ = inner::Pe { number: 1, text: ::std::string::String::new() };
}
