//! Everything in a state is restored, however it is nested (X18); transient fields are not touched.

use std::collections::{BTreeMap, HashMap};

use checkpoint::Checkpointable;

use crate::support::{FAIL_SAFE, FaultyStorage, manual, settings};

#[derive(Checkpointable, Default, Debug, PartialEq, Clone)]
struct Base {
    name: String,
    #[transient]
    cache: Option<u64>,
}

#[derive(Checkpointable, Debug, PartialEq, Clone, Default)]
enum Kind {
    #[default]
    Empty,
    Tuple(u8, Box<Kind>),
    Named {
        values: Vec<(String, f64)>,
    },
}

#[derive(Checkpointable, Default, Debug, PartialEq, Clone)]
struct Middle {
    base: Base,
    kinds: BTreeMap<u16, Kind>,
}

#[derive(Checkpointable, Default, Debug, PartialEq, Clone)]
struct Outer {
    middle: Middle,
    more: HashMap<String, Option<[i64; 3]>>,
    #[transient]
    handle: u64,
}

#[test]
fn x18_what_is_in_nested_structs_is_restored() {
    let state = Outer {
        middle: Middle {
            base: Base { name: "inherited".into(), cache: Some(1) },
            kinds: BTreeMap::from([
                (1, Kind::Tuple(7, Box::new(Kind::Empty))),
                (2, Kind::Named { values: vec![("x".into(), 0.5), ("y".into(), f64::MAX)] }),
            ]),
        },
        more: HashMap::from([("a".into(), Some([1, -2, 3])), ("b".into(), None)]),
        handle: 5,
    };
    let storage = FaultyStorage::new();
    let build = || {
        let keeper = settings(&storage).build().unwrap();
        let made = |_: &u32| Outer {
            middle: Middle {
                base: Base { cache: Some(3), ..Base::default() },
                ..Middle::default()
            },
            handle: 9,
            ..Outer::default()
        };
        let config = manual().build().unwrap();
        let prototype = keeper.prototype::<u32, Outer>("outer").config(config).create(made);
        (prototype.build().unwrap(), keeper)
    };
    let (prototype, keeper) = build();
    prototype.process(1, |pe| pe.clone_from(&state)).unwrap();
    keeper.close(FAIL_SAFE).unwrap();

    let (prototype, _keeper) = build();
    let mut expected = state;
    expected.middle.base.cache = Some(3);
    expected.handle = 9;
    assert_eq!(prototype.read(1, Outer::clone).unwrap(), expected);
}
