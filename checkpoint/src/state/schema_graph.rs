//! Turns the links between schemas into their canonical form.
//!
//! The compiler may place one schema at several addresses, or two equal ones at the same. So the
//! form must not depend on addresses: schemas that cannot be told apart by following their links
//! become one node (the smallest automaton, by refinement of a partition), and the nodes are
//! numbered in the order in which they are first met from the root.

use std::collections::HashMap;

use crate::state::schema::{Schema, SchemaField};
use crate::state::schema_description::{Node, Place};

/// The nodes of a schema, the root first.
pub(crate) fn canonical_nodes(root: &'static Schema) -> Vec<Node> {
    let nodes = collect(root);
    let classes = classes(&nodes);
    number(&nodes, &classes)
}

/// All schemas that the root leads to, by address.
fn collect(root: &'static Schema) -> Vec<Node> {
    let mut places = HashMap::from([(std::ptr::from_ref(root), 0)]);
    let mut schemas = vec![root];
    let mut nodes = Vec::new();
    while let Some(schema) = schemas.get(nodes.len()).copied() {
        nodes.push(to_node(schema, |linked| {
            let next = Place::try_from(schemas.len()).unwrap_or(Place::MAX);
            *places.entry(std::ptr::from_ref(linked)).or_insert_with(|| {
                schemas.push(linked);
                next
            })
        }));
    }
    nodes
}

fn to_node(schema: &Schema, mut place: impl FnMut(&'static Schema) -> Place) -> Node {
    let mut fields = |fields: &[SchemaField]| -> Vec<(String, Place)> {
        fields.iter().map(|field| (field.name.to_owned(), place((field.schema)()))).collect()
    };
    match schema {
        Schema::Primitive(name) => Node::Primitive((*name).to_owned()),
        Schema::Option(inner) => Node::Option(place(inner())),
        Schema::Sequence(inner) => Node::Sequence(place(inner())),
        Schema::Set(inner) => Node::Set(place(inner())),
        Schema::Map(key, value) => Node::Map(place(key()), place(value())),
        Schema::Array(inner, count) => Node::Array(place(inner()), *count as u64),
        Schema::Struct(list) => Node::Struct(fields(list)),
        Schema::Enum(variants) => Node::Enum(
            variants
                .iter()
                .map(|variant| (variant.name.to_owned(), fields(variant.fields)))
                .collect(),
        ),
        Schema::Serde(version) => Node::Serde(*version),
    }
}

/// The class of each node: two nodes are of one class if they describe the same.
fn classes(nodes: &[Node]) -> Vec<Place> {
    // All the same at first; then nodes of one class are told apart by the classes they lead to.
    let mut classes = vec![0; nodes.len()];
    let mut count = 1;
    loop {
        let mut found = HashMap::new();
        let refined: Vec<Place> = nodes
            .iter()
            .map(|node| {
                let next = Place::try_from(found.len()).unwrap_or(Place::MAX);
                *found.entry(map_places(node, |place| class(&classes, place))).or_insert(next)
            })
            .collect();
        // The refined node contains what the node itself says, so that no class is ever joined.
        let stable = found.len() == count;
        count = found.len();
        classes = refined;
        if stable {
            return classes;
        }
    }
}

/// One node of each class, in the order in which they are first met.
fn number(nodes: &[Node], classes: &[Place]) -> Vec<Node> {
    let mut numbers = HashMap::from([(class(classes, 0), 0)]);
    let mut order = vec![0];
    let mut numbered = Vec::new();
    while let Some(place) = order.get(numbered.len()).copied() {
        let Some(node) = usize::try_from(place).ok().and_then(|place| nodes.get(place)) else {
            unreachable!("places are numbers of nodes");
        };
        numbered.push(map_places(node, |linked| {
            let next = Place::try_from(order.len()).unwrap_or(Place::MAX);
            *numbers.entry(class(classes, linked)).or_insert_with(|| {
                order.push(linked);
                next
            })
        }));
    }
    numbered
}

fn class(classes: &[Place], place: Place) -> Place {
    let class = usize::try_from(place).ok().and_then(|place| classes.get(place));
    class.copied().unwrap_or_else(|| unreachable!("every node has a class"))
}

/// The same node with other places.
fn map_places(node: &Node, mut map: impl FnMut(Place) -> Place) -> Node {
    let mut fields = |fields: &Vec<(String, Place)>| -> Vec<(String, Place)> {
        fields.iter().map(|(name, place)| (name.clone(), map(*place))).collect()
    };
    match node {
        Node::Primitive(name) => Node::Primitive(name.clone()),
        Node::Option(inner) => Node::Option(map(*inner)),
        Node::Sequence(inner) => Node::Sequence(map(*inner)),
        Node::Set(inner) => Node::Set(map(*inner)),
        Node::Map(key, value) => Node::Map(map(*key), map(*value)),
        Node::Array(inner, count) => Node::Array(map(*inner), *count),
        Node::Struct(list) => Node::Struct(fields(list)),
        Node::Enum(variants) => {
            Node::Enum(variants.iter().map(|(name, list)| (name.clone(), fields(list))).collect())
        }
        Node::Serde(version) => Node::Serde(*version),
    }
}
