//! What a state's type stores, as a value that can be printed, compared and stored.

use std::fmt;

use crate::state::schema_difference::{self, SchemaDifference};
use crate::state::{Checkpointable, DecodeError, schema_bytes, schema_graph};

/// Describes what a type stores: names, order and types of its fields and variants.
///
/// No names of types are in it, so that renaming a struct changes nothing. Two types that store the
/// same have the same description, also if they contain themselves.
///
/// # Examples
///
/// ```
/// use checkpoint::{Checkpointable, SchemaDescription};
///
/// #[derive(Checkpointable)]
/// struct Word {
///     count: u64,
///     lines: Vec<u32>,
/// }
///
/// let description = SchemaDescription::of::<Word>();
/// assert_eq!(description.to_string(), "{\n  count: u64\n  lines: sequence of u32\n}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SchemaDescription {
    // The first is the type itself. They refer to each other by their places, so that types that
    // occur often or contain themselves are described once. Invariant: no place is out of range.
    pub(crate) nodes: Vec<Node>,
}

/// The place of a node in [`SchemaDescription::nodes`].
pub(crate) type Place = u32;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Primitive(String),
    Option(Place),
    Sequence(Place),
    Set(Place),
    Map(Place, Place),
    Array(Place, u64),
    Struct(Vec<(String, Place)>),
    Enum(Vec<(String, Vec<(String, Place)>)>),
    Serde(u32),
}

impl SchemaDescription {
    /// Describes a type.
    #[must_use]
    pub fn of<T: Checkpointable + ?Sized>() -> Self {
        Self { nodes: schema_graph::canonical_nodes(T::SCHEMA) }
    }

    /// Returns a number that differs, for all practical purposes, if the descriptions do.
    ///
    /// It is XXH3-64, unseeded, of [`to_bytes`](Self::to_bytes), and will not change between
    /// versions of this library. It is no protection against somebody who wants a collision.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.to_bytes())
    }

    /// Encodes the description.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        schema_bytes::encode(&self.nodes)
    }

    /// Decodes a description. The bytes may be anything.
    ///
    /// # Errors
    ///
    /// If the bytes are not exactly one description, or more than 16 MiB.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        schema_bytes::decode(bytes).map(|nodes| Self { nodes })
    }

    /// Compares this description, of what is expected, with the one of what was found.
    ///
    /// At most 100 differences are listed. The list is empty exactly if the two describe the same.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<SchemaDifference> {
        schema_difference::differences(self, found)
    }

    pub(crate) fn node(&self, place: Place) -> Option<&Node> {
        self.nodes.get(usize::try_from(place).ok()?)
    }

    /// Says in a few words what is stored at a place.
    pub(crate) fn summary(&self, place: Place) -> String {
        let name = |place: &Place| match self.node(*place) {
            Some(Node::Primitive(name)) => name.clone(),
            Some(Node::Option(_)) => "option".to_owned(),
            Some(Node::Sequence(_)) => "sequence".to_owned(),
            Some(Node::Set(_)) => "set".to_owned(),
            Some(Node::Map(..)) => "map".to_owned(),
            Some(Node::Array(..)) => "array".to_owned(),
            Some(Node::Struct(_)) => "struct".to_owned(),
            Some(Node::Enum(_)) => "enum".to_owned(),
            Some(Node::Serde(version)) => format!("serde version {version}"),
            None => "nothing".to_owned(),
        };
        match self.node(place) {
            Some(Node::Option(inner)) => format!("option of {}", name(inner)),
            Some(Node::Sequence(inner)) => format!("sequence of {}", name(inner)),
            Some(Node::Set(inner)) => format!("set of {}", name(inner)),
            Some(Node::Map(key, value)) => format!("map of {} to {}", name(key), name(value)),
            Some(Node::Array(inner, count)) => format!("array of {count} {}", name(inner)),
            _ => name(&place),
        }
    }
}

impl fmt::Display for SchemaDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { description: self, open: Vec::new(), printed: 0 }.place(f, 0)
    }
}

/// Prints a description as the tree that it stands for.
struct Printer<'a> {
    description: &'a SchemaDescription,
    // The structs and enums that are being printed: they are not printed again inside themselves.
    open: Vec<Place>,
    // How many nodes were printed, each time that they were.
    printed: usize,
}

impl Printer<'_> {
    /// A type that occurs often is printed each time, which may multiply: enough is enough.
    const PRINTED_MAX: usize = 4000;
    const DEPTH_MAX: usize = 64;

    fn place(&mut self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        if let Some(index) = self.open.iter().position(|open| *open == place) {
            let inside = self.open.get(index..).unwrap_or_default();
            return write!(f, "the type {} levels up", self.braces(inside));
        }
        if self.printed > Self::PRINTED_MAX || self.open.len() > Self::DEPTH_MAX {
            return f.write_str("…");
        }
        self.printed += 1;
        self.open.push(place);
        self.node(f, place)?;
        self.open.pop();
        Ok(())
    }

    fn node(&mut self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        match self.description.node(place) {
            None => f.write_str("nothing"),
            Some(Node::Primitive(name)) => f.write_str(name),
            Some(Node::Option(inner)) => {
                f.write_str("option of ")?;
                self.place(f, *inner)
            }
            Some(Node::Sequence(inner)) => {
                f.write_str("sequence of ")?;
                self.place(f, *inner)
            }
            Some(Node::Set(inner)) => {
                f.write_str("set of ")?;
                self.place(f, *inner)
            }
            Some(Node::Map(key, value)) => {
                f.write_str("map of ")?;
                self.place(f, *key)?;
                f.write_str(" to ")?;
                self.place(f, *value)
            }
            Some(Node::Array(inner, count)) => {
                write!(f, "array of {count} ")?;
                self.place(f, *inner)
            }
            Some(Node::Struct(fields)) => self.fields(f, fields),
            Some(Node::Enum(variants)) => self.variants(f, variants),
            Some(Node::Serde(version)) => write!(f, "serde version {version}"),
        }
    }

    fn fields(&mut self, f: &mut fmt::Formatter<'_>, fields: &[(String, Place)]) -> fmt::Result {
        if fields.is_empty() {
            return f.write_str("{}");
        }
        f.write_str("{")?;
        for (name, place) in fields {
            self.line(f)?;
            write!(f, "{name}: ")?;
            self.place(f, *place)?;
        }
        self.close(f)
    }

    fn variants(
        &mut self,
        f: &mut fmt::Formatter<'_>,
        variants: &[(String, Vec<(String, Place)>)],
    ) -> fmt::Result {
        f.write_str("one of {")?;
        for (name, fields) in variants {
            self.line(f)?;
            f.write_str(name)?;
            if !fields.is_empty() {
                f.write_str(" ")?;
                // The variant is a level of its own.
                self.open.push(Place::MAX);
                self.fields(f, fields)?;
                self.open.pop();
            }
        }
        self.close(f)
    }

    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:width$}", "", width = 2 * self.indentation())
    }

    fn close(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:width$}}}", "", width = 2 * (self.indentation() - 1))
    }

    /// How many braces are open.
    fn indentation(&self) -> usize {
        self.braces(&self.open)
    }

    /// How many of the places are printed with braces.
    fn braces(&self, places: &[Place]) -> usize {
        let has_braces = |place: &&Place| {
            let node = self.description.node(**place);
            matches!(node, None | Some(Node::Struct(_) | Node::Enum(_)))
        };
        places.iter().filter(has_braces).count()
    }
}
