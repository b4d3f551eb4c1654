//! What a type says of itself at compile time.

/// Leads from one schema to another; a function, so that types may contain themselves.
pub type SchemaLink = fn() -> &'static Schema;

/// What a type stores: names, order and types of its fields, without names of types.
///
/// The derive writes it. Hand-written implementations of
/// [`Checkpointable`](crate::Checkpointable) give the [`Primitive`](Self::Primitive) of a name of
/// their own, which must change whenever their encoding does, or the schema of what they wrap.
///
/// It is a graph of links; [`SchemaDescription`](crate::SchemaDescription) is what one prints,
/// compares and stores.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Schema {
    /// A value without inner structure, by the name of its encoding.
    Primitive(&'static str),
    /// A value or nothing.
    Option(SchemaLink),
    /// Any number of values in order.
    Sequence(SchemaLink),
    /// Any number of different values.
    Set(SchemaLink),
    /// Any number of values by key.
    Map(SchemaLink, SchemaLink),
    /// A fixed number of values.
    Array(SchemaLink, usize),
    /// Fields; those of tuples are named by their numbers.
    Struct(&'static [SchemaField]),
    /// One of several variants.
    Enum(&'static [SchemaVariant]),
    /// A value that serde encodes, in the version that its owner gave it.
    Serde(u32),
}

/// A stored field of a struct or a variant.
#[derive(Debug, Clone, Copy)]
pub struct SchemaField {
    /// Its name, or its number in a tuple.
    pub name: &'static str,
    /// What it stores.
    pub schema: SchemaLink,
}

/// A variant of an enum.
#[derive(Debug, Clone, Copy)]
pub struct SchemaVariant {
    /// Its name.
    pub name: &'static str,
    /// Its stored fields.
    pub fields: &'static [SchemaField],
}
