//! The bytes of a schema's description, which are also what its fingerprint is computed of.
//!
//! One byte of version, the number of nodes, and the nodes, each by a tag, its texts and its
//! places. Numbers are little-endian; counts, places and lengths have 32 bits.

use std::collections::HashSet;

use crate::state::schema_description::{Node, Place};
use crate::state::{DecodeError, DecodeErrorKind, Decoder, StateLimits};

const VERSION: u8 = 1;

/// A description of more bytes is none.
const BYTES_MAX: usize = 16 << 20;

pub(crate) fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    write_count(nodes.len(), &mut bytes);
    for node in nodes {
        write_node(node, &mut bytes);
    }
    bytes
}

fn write_node(node: &Node, bytes: &mut Vec<u8>) {
    match node {
        Node::Primitive(name) => {
            bytes.push(0);
            write_text(name, bytes);
        }
        Node::Option(inner) => {
            bytes.push(1);
            bytes.extend(inner.to_le_bytes());
        }
        Node::Sequence(inner) => {
            bytes.push(2);
            bytes.extend(inner.to_le_bytes());
        }
        Node::Set(inner) => {
            bytes.push(3);
            bytes.extend(inner.to_le_bytes());
        }
        Node::Map(key, value) => {
            bytes.push(4);
            bytes.extend(key.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        Node::Array(inner, count) => {
            bytes.push(5);
            bytes.extend(inner.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        Node::Struct(fields) => {
            bytes.push(6);
            write_fields(fields, bytes);
        }
        Node::Enum(variants) => {
            bytes.push(7);
            write_count(variants.len(), bytes);
            for (name, fields) in variants {
                write_text(name, bytes);
                write_fields(fields, bytes);
            }
        }
        Node::Serde(version) => {
            bytes.push(8);
            bytes.extend(version.to_le_bytes());
        }
    }
}

fn write_fields(fields: &[(String, Place)], bytes: &mut Vec<u8>) {
    write_count(fields.len(), bytes);
    for (name, place) in fields {
        write_text(name, bytes);
        bytes.extend(place.to_le_bytes());
    }
}

fn write_text(text: &str, bytes: &mut Vec<u8>) {
    write_count(text.len(), bytes);
    bytes.extend(text.as_bytes());
}

fn write_count(count: usize, bytes: &mut Vec<u8>) {
    // What a program's source text can contain.
    let count = u32::try_from(count).unwrap_or_else(|_| unreachable!("no type has 2^32 parts"));
    bytes.extend(count.to_le_bytes());
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Node>, DecodeError> {
    let limits = StateLimits::default().with_state_bytes_max(BYTES_MAX);
    let mut reader = Reader { decoder: Decoder::new(bytes, &limits)?, nodes: 0 };
    let [version] = reader.decoder.read_array()?;
    if version != VERSION {
        return Err(reader.error(1, "version 1 of schema descriptions", version));
    }
    // The least node: a tag and one number.
    reader.nodes = reader.count(5)?;
    if reader.nodes == 0 {
        return Err(reader.error(4, "at least one node", 0));
    }
    let nodes = (0..reader.nodes).map(|_| reader.node()).collect::<Result<_, _>>()?;
    reader.decoder.finish()?;
    Ok(nodes)
}

struct Reader<'a> {
    decoder: Decoder<'a>,
    nodes: usize,
}

impl Reader<'_> {
    fn node(&mut self) -> Result<Node, DecodeError> {
        let [tag] = self.decoder.read_array()?;
        Ok(match tag {
            0 => Node::Primitive(self.text()?),
            1 => Node::Option(self.place()?),
            2 => Node::Sequence(self.place()?),
            3 => Node::Set(self.place()?),
            4 => Node::Map(self.place()?, self.place()?),
            5 => Node::Array(self.place()?, u64::from_le_bytes(self.decoder.read_array()?)),
            6 => Node::Struct(self.fields()?),
            7 => {
                // The least variant: an empty name and no fields.
                let count = self.count(8)?;
                let variant = |_| Ok((self.text()?, self.fields()?));
                let variants = (0..count).map(variant).collect::<Result<Vec<_>, DecodeError>>()?;
                Node::Enum(self.each_name_once(variants)?)
            }
            8 => Node::Serde(self.number()?),
            other => return Err(self.error(1, "a node's tag from 0 to 8", other)),
        })
    }

    fn fields(&mut self) -> Result<Vec<(String, Place)>, DecodeError> {
        // The least field: an empty name and a place.
        let count = self.count(8)?;
        let fields = (0..count).map(|_| Ok((self.text()?, self.place()?)));
        let fields = fields.collect::<Result<Vec<_>, DecodeError>>()?;
        self.each_name_once(fields)
    }

    /// No type has a name twice; a description that had would be compared wrongly.
    fn each_name_once<T>(&self, named: Vec<(String, T)>) -> Result<Vec<(String, T)>, DecodeError> {
        let mut names = HashSet::with_capacity(named.len());
        match named.iter().find(|(name, _)| !names.insert(name)) {
            None => Ok(named),
            Some(_) => Err(self.error(0, "every name once", "a name twice")),
        }
    }

    fn place(&mut self) -> Result<Place, DecodeError> {
        let place = self.number()?;
        match usize::try_from(place) {
            Ok(index) if index < self.nodes => Ok(place),
            _ => Err(self.error(4, "the place of a node", place)),
        }
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let count = self.count(1)?;
        let bytes = self.decoder.read_bytes(count)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.error(count, "a text in UTF-8", "other bytes")),
        }
    }

    /// A count of things that have so many bytes at least.
    fn count(&mut self, each_min: usize) -> Result<usize, DecodeError> {
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.decoder.remaining() / each_min => Ok(count),
            _ => Err(self.error(4, "a count that the rest of the bytes can hold", count)),
        }
    }

    fn number(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.decoder.read_array()?))
    }

    fn error(&self, width: usize, expected: &str, found: impl ToString) -> DecodeError {
        self.decoder.error(DecodeErrorKind::Schema, width, expected, found.to_string())
    }
}
