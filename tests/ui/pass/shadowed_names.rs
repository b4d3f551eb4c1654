//! Generated code uses full paths, so that names of the user mean nothing to it.
#![allow(dead_code, unused_imports, non_upper_case_globals, non_camel_case_types)]

mod names {
    pub struct Result;
    pub struct Option;
    pub struct Vec;
    pub struct Ok;
    pub struct Err;
    pub struct Default;
    pub struct PhantomData;
    pub trait Rebuild {}
    pub struct Encoder;
    pub struct Decoder;
    pub struct u32;
    pub struct usize;
}
use names::*;

macro_rules! unreachable {
    () => {
        1
    };
}

const encoder: u8 = 1;
const staged: u8 = 1;
const field_0: u8 = 1;

#[derive(::checkpoint::Checkpointable)]
struct Checkpointable {
    encoder: u64,
    decoder: u64,
    staged: u64,
    marker: u64,
    field_0: u64,
    r#self_: u64,
    r#type: u64,
    __e: u64,
    place: u64,
    #[transient(default)]
    cache: u64,
}

#[derive(::checkpoint::Checkpointable)]
enum Schema {
    Staged { encoder: u64, staged: u64, number: u64 },
    Marker(u64),
    Ok,
    r#Type { r#fn: u8 },
}

#[derive(::checkpoint::Checkpointable)]
struct Decoded<T, E, R, const N: ::core::primitive::usize>(T, E, R, [T; N]);

fn main() {
    let _ = unreachable!();
}
