//! Bounds are inferred from the stored fields only.
#![deny(warnings)]

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;

use checkpoint::{Checkpointable, Rebuild};

pub struct NotStorable;

pub trait Kind {
    type Item;
}

pub struct Text;

impl Kind for Text {
    type Item = String;
}

#[derive(Checkpointable)]
pub struct Pe<K: Kind, const N: usize, T = u64, U: ?Sized = str>
where
    T: Clone,
{
    pub item: K::Item,
    pub values: Vec<T>,
    pub array: [T; N],
    #[transient(default = [0; N])]
    pub cache: [u8; N],
    pub marker: PhantomData<U>,
}

#[derive(Checkpointable)]
pub struct OnlyMarkers<'a>(PhantomData<&'a u8>, PhantomData<dyn Send>, PhantomData<fn()>);

#[derive(Checkpointable)]
pub struct ByKey<K: Eq + Hash> {
    pub map: HashMap<K, u32>,
}

#[derive(Checkpointable)]
pub enum Either<L, R> {
    Left(L),
    Right(R, #[transient(default)] Option<Box<NotStorable>>),
    Both(Vec<Either<L, R>>),
}

#[derive(Checkpointable)]
pub struct Defaulted<T> {
    #[transient(default)]
    pub value: T,
}

#[derive(Checkpointable)]
pub struct Tree<T> {
    pub value: T,
    pub children: Vec<Self>,
    pub next: Option<Box<Tree<T>>>,
}

#[derive(Checkpointable)]
pub struct Ping<T> {
    pub value: T,
    pub pong: Option<Box<Pong<T>>>,
}

#[derive(Checkpointable)]
#[checkpoint(bound = "T: Rebuild")]
pub struct Pong<T> {
    pub value: T,
    pub pings: Vec<Ping<T>>,
}

type Nodes = Vec<Node>;

#[derive(Checkpointable)]
#[checkpoint(bound = "")]
pub struct Node {
    pub children: Nodes,
}

#[derive(Checkpointable)]
pub struct Holder<T>(Box<Body<T>>)
where
    Self: Sized;

#[derive(Checkpointable)]
pub enum Body<T> {
    Leaf(T),
    Inner(Vec<Body<T>>),
}

#[derive(Checkpointable)]
pub struct InPlace<T> {
    pub owned: T,
    #[transient]
    pub not_storable: NotStorable,
}

fn is_storable<T: Checkpointable>() {}
fn is_rebuilt<T: Rebuild>() {}

fn main() {
    is_rebuilt::<Pe<Text, 3>>();
    is_rebuilt::<Pe<Text, 3, Vec<u8>, NotStorable>>();
    is_rebuilt::<OnlyMarkers<'_>>();
    is_rebuilt::<ByKey<String>>();
    is_rebuilt::<Either<u8, String>>();
    is_rebuilt::<Defaulted<u8>>();
    is_storable::<Defaulted<NotStorable>>();
    is_rebuilt::<Tree<Tree<u8>>>();
    is_rebuilt::<Ping<u8>>();
    is_rebuilt::<Node>();
    is_rebuilt::<Holder<u8>>();
    is_storable::<InPlace<InPlace<u8>>>();
}
