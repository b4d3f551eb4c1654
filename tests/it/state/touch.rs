//! What is read of a state that an event comes for soon: something of each part on the heap, and
//! never more than that.

use std::collections::VecDeque;
use std::sync::Arc;

use checkpoint::Checkpointable;

#[derive(Checkpointable, Default)]
struct Plain {
    first: u8,
    second: u64,
}

#[derive(Checkpointable, Default)]
struct Texts {
    // Beside the others: it needs no reading of its own.
    number: u8,
    name: String,
    bytes: Vec<u8>,
    plain: Vec<Plain>,
    nested: Option<Box<Plain>>,
}

#[derive(Checkpointable, Default)]
struct Tree {
    children: Vec<Tree>,
}

fn touch<T: Checkpointable>(value: &T) -> u8 {
    T::touch(value)
}

#[test]
fn each_part_on_the_heap_is_read_once() {
    let state = Texts {
        number: 0b1000_0000,
        name: "\u{1}".into(),
        bytes: vec![2, 0xff],
        plain: vec![Plain { first: 4, second: 0 }, Plain { first: 0xff, second: 0xff }],
        nested: Some(Box::new(Plain { first: 8, second: 16 })),
    };
    assert_eq!(touch(&state), 1 ^ 2 ^ 4 ^ 8);
    assert_eq!(touch(&Texts::default()), 0);
}

#[test]
fn pointers_within_what_is_on_the_heap_are_not_followed() {
    let tree = Tree { children: vec![Tree { children: vec![Tree::default()] }] };
    assert_eq!(touch(&tree), 0);
    assert_eq!(touch(&vec![String::from("a")]), 0);
    assert_eq!(touch(&Box::new(vec![1_u8])), 0);
}

#[test]
fn what_is_of_fixed_size_is_read_where_it_lies() {
    assert_eq!(touch(&vec![0x0102_u16]), 2);
    assert_eq!(touch(&VecDeque::from([3_u8, 4])), 3);
    assert_eq!(touch(&Arc::new(true)), 1);
    assert_eq!(touch(&vec![(1_u8, 2_u8)]), 3);
    assert_eq!(touch(&vec![[5_u8, 9]]), 5);
    assert_eq!(touch(&Vec::<u8>::new()), 0);
}

#[derive(Checkpointable, Default)]
struct Visitor {
    visits: u64,
}

impl Visitor {
    fn touch(&mut self) {
        self.visits += 1;
    }
}

#[test]
fn a_method_of_the_same_name_is_the_users() {
    let mut visitor = Box::new(Visitor::default());
    visitor.touch();
    assert_eq!(visitor.visits, 1);
}
