//! Generated code needs no prelude.
#![no_implicit_prelude]

extern crate std;

#[derive(::checkpoint::Checkpointable)]
pub struct Pe<T> {
    pub number: u64,
    pub values: ::std::vec::Vec<T>,
    #[transient(default)]
    pub cache: u32,
    #[checkpoint(serde, version = 1)]
    pub text: ::std::string::String,
}

#[derive(::checkpoint::Checkpointable)]
pub enum Event {
    Nothing,
    Named { number: u64, other: ::std::option::Option<u8> },
}

#[derive(::checkpoint::Checkpointable)]
pub enum Never {}

fn main() {}
