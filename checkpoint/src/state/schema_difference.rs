//! How two schemas differ, by field.

use std::collections::HashSet;
use std::fmt;

use crate::state::schema_description::{Node, Place, SchemaDescription};

/// How many differences are listed.
const DIFFERENCES_MAX: usize = 100;

/// One place at which a found schema is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaDifference {
    field: String,
    expected: String,
    found: String,
}

impl SchemaDifference {
    /// Returns the path of the field, such as `orders[..].price`; empty for the state as a whole.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Says what was expected there.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Says what was found there.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "field `{}`: ", self.field)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

pub(crate) fn differences(
    expected: &SchemaDescription,
    found: &SchemaDescription,
) -> Vec<SchemaDifference> {
    let root = Pair { field: String::new(), expected: 0, found: 0 };
    let mut comparison = Comparison {
        expected,
        found,
        seen: HashSet::from([(0, 0)]),
        pending: vec![root],
        differences: Vec::new(),
    };
    // A stack, not recursion: the found one may be nested to any depth.
    while let Some(pair) = comparison.pending.pop() {
        let first_new = comparison.pending.len();
        comparison.pair(&pair);
        // Popped in the order of the fields.
        if let Some(added) = comparison.pending.get_mut(first_new..) {
            added.reverse();
        }
        if comparison.differences.len() >= DIFFERENCES_MAX {
            comparison.differences.truncate(DIFFERENCES_MAX);
            break;
        }
    }
    comparison.differences
}

/// Two nodes to be compared.
struct Pair {
    field: String,
    expected: Place,
    found: Place,
}

struct Comparison<'a> {
    expected: &'a SchemaDescription,
    found: &'a SchemaDescription,
    // Pairs that were met before are the same or reported already: schemas may contain themselves.
    seen: HashSet<(Place, Place)>,
    pending: Vec<Pair>,
    differences: Vec<SchemaDifference>,
}

impl Comparison<'_> {
    fn pair(&mut self, pair: &Pair) {
        let nodes = (self.expected.node(pair.expected), self.found.node(pair.found));
        let field = &pair.field;
        match nodes {
            (Some(Node::Option(expected)), Some(Node::Option(found))) => {
                self.later(field.clone(), *expected, *found);
            }
            (Some(Node::Sequence(expected)), Some(Node::Sequence(found)))
            | (Some(Node::Set(expected)), Some(Node::Set(found))) => {
                self.later(format!("{field}[..]"), *expected, *found);
            }
            (Some(Node::Array(expected, count)), Some(Node::Array(found, found_count)))
                if count == found_count =>
            {
                self.later(format!("{field}[..]"), *expected, *found);
            }
            (Some(Node::Map(key, value)), Some(Node::Map(found_key, found_value))) => {
                self.later(format!("{field}[key]"), *key, *found_key);
                self.later(format!("{field}[..]"), *value, *found_value);
            }
            (Some(Node::Struct(expected)), Some(Node::Struct(found))) => {
                self.fields(field, expected, found);
            }
            (Some(Node::Enum(expected)), Some(Node::Enum(found))) => {
                self.variants(field, expected, found);
            }
            (expected, found) if expected == found => {}
            _ => {
                let expected = self.expected.summary(pair.expected);
                let found = self.found.summary(pair.found);
                self.report(field.clone(), expected, found);
            }
        }
    }

    fn fields(&mut self, path: &str, expected: &[(String, Place)], found: &[(String, Place)]) {
        let names = |fields: &[(String, Place)]| -> Vec<String> {
            fields.iter().map(|(name, _)| name.clone()).collect()
        };
        for (name, place) in expected {
            match found.iter().find(|(found_name, _)| found_name == name) {
                Some((_, found)) => self.later(join(path, name), *place, *found),
                None => {
                    let summary = self.expected.summary(*place);
                    self.report(join(path, name), summary, "no such field".to_owned());
                }
            }
        }
        for (name, place) in found {
            if !expected.iter().any(|(expected_name, _)| expected_name == name) {
                let summary = self.found.summary(*place);
                self.report(join(path, name), "no such field".to_owned(), summary);
            }
        }
        self.order("fields", path, &names(expected), &names(found));
    }

    fn variants(
        &mut self,
        path: &str,
        expected: &[(String, Vec<(String, Place)>)],
        found: &[(String, Vec<(String, Place)>)],
    ) {
        let names = |variants: &[(String, Vec<(String, Place)>)]| -> Vec<String> {
            variants.iter().map(|(name, _)| name.clone()).collect()
        };
        for (name, fields) in expected {
            match found.iter().find(|(found_name, _)| found_name == name) {
                Some((_, found)) => self.fields(&join(path, name), fields, found),
                None => self.report(join(path, name), "a variant".into(), "no such variant".into()),
            }
        }
        for (name, _) in found {
            if !expected.iter().any(|(expected_name, _)| expected_name == name) {
                self.report(join(path, name), "no such variant".into(), "a variant".into());
            }
        }
        self.order("variants", path, &names(expected), &names(found));
    }

    /// The same names in another order are another encoding too.
    fn order(&mut self, what: &str, path: &str, expected: &[String], found: &[String]) {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        if expected != found && sorted(expected) == sorted(found) {
            let list = |names: &[String]| format!("the {what} {}", names.join(", "));
            self.report(path.to_owned(), list(expected), list(found));
        }
    }

    fn later(&mut self, field: String, expected: Place, found: Place) {
        if self.seen.insert((expected, found)) {
            self.pending.push(Pair { field, expected, found });
        }
    }

    fn report(&mut self, field: String, expected: String, found: String) {
        self.differences.push(SchemaDifference { field, expected, found });
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
