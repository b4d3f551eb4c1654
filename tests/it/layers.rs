//! Dependencies point down only: no two modules of the library need each other.
//!
//! Otherwise neither can be understood, tested or replaced without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

type Needs = BTreeMap<String, BTreeSet<String>>;

/// Which modules at the top of the library each of them names.
fn needs() -> Needs {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/src");
    let mut needs = Needs::new();
    for entry in fs::read_dir(&src).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // The front page names everything; the model checkers' steps stand beside the product.
        if !matches!(&*module, "lib" | "interleavings") {
            let found = needs.entry(module).or_default();
            read(&path, found);
        }
    }
    let modules: BTreeSet<String> = needs.keys().cloned().collect();
    for (module, found) in &mut needs {
        // Not a module: a name that the front page hands on.
        found.retain(|name| modules.contains(name) && name != module);
    }
    needs
}

fn read(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).unwrap();
        // Unit tests may look further up, and comments may speak of anything.
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for named in line.split("crate::").skip(1) {
                let end = named.find(|c: char| !c.is_alphanumeric() && c != '_');
                found.insert(named[..end.unwrap_or(named.len())].to_owned());
            }
        }
    }
}

/// A way from a module back to itself, if there is one.
fn circle(needs: &Needs) -> Option<Vec<String>> {
    fn walk(needs: &Needs, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        let here = way[way.len() - 1].clone();
        for next in &needs[&here] {
            let is_back = way.contains(next);
            way.push(next.clone());
            if is_back || (!done.contains(next) && walk(needs, way, done)) {
                return true;
            }
            way.pop();
        }
        done.insert(here);
        false
    }
    let mut done = BTreeSet::new();
    needs.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        (!done.contains(start) && walk(needs, &mut way, &mut done)).then_some(way)
    })
}

#[test]
fn dependencies_point_down_only() {
    let needs = needs();
    // That what is read is what is there: the top needs the joint, and the joint the ground.
    assert!(needs["prototype"].contains("framework") && needs["framework"].contains("storage"));
    if let Some(circle) = circle(&needs) {
        panic!("these need each other: {}", circle.join(" -> "));
    }
}

#[test]
fn a_circle_is_found() {
    let needs = |pairs: &[(&str, &str)]| {
        let mut needs = Needs::new();
        for (from, to) in pairs {
            needs.entry((*to).to_owned()).or_default();
            needs.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        needs
    };
    assert_eq!(circle(&needs(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let found = circle(&needs(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["a", "b", "c", "b"]);
}
