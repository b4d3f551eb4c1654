//! Dependencies point down only: no two modules of the library need each other.
//!
//! Otherwise neither can be understood, tested or replaced without the other. Inside of the
//! folders the same holds, but for the few knots that are named here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Needs = BTreeMap<String, BTreeSet<String>>;

/// What is one thing in several files: by folder, which modules need each other. Whoever changes
/// one of them has to know the others. There are to be no more of them, and none that is larger.
const KNOTS: &[(&str, &[&[&str]])] = &[
    // A PE is called by what gives its shard back, waits for it, brings it in and lets it in: all
    // of them are ways through `Inner`. A table hands on what it keeps of requests, which says what
    // of the table it changes.
    (
        "prototype",
        &[
            &["async_wait", "gate", "inner", "landing", "pe_prototype", "restore", "shard"],
            &["requests", "table"],
        ],
    ),
    // Threads do what is to be done, which starts others where a thread hangs.
    ("safe_keeper", &[&["pools", "shared"]]),
    // A description is compared, and shows what differs.
    ("state", &[&["schema_description", "schema_difference"]]),
    // A log counts what was compacted, and that is done to a log; a hint lies beside its segment.
    ("storage/log", &[&["compaction", "inner", "tombstones"], &["hint", "segment"]]),
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/src")
}

/// Which modules of a folder each of them names.
fn needs(folder: &str) -> Needs {
    let prefix = match folder {
        "" => "crate::".to_owned(),
        _ => format!("crate::{}::", folder.replace('/', "::")),
    };
    let mut needs = Needs::new();
    for entry in fs::read_dir(src().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // The front page and tables of contents name everything; the model checkers' steps stand
        // beside the product.
        if !matches!(&*module, "lib" | "mod" | "interleavings") {
            let found = needs.entry(module).or_default();
            for code in product_below(&path) {
                add_named(&code, &prefix, found);
                if path.is_file() && !folder.is_empty() {
                    add_named(&code, "super::", found);
                }
            }
        }
    }
    let modules: BTreeSet<String> = needs.keys().cloned().collect();
    for (module, found) in &mut needs {
        // Not a module: a name that the front page hands on.
        found.retain(|name| modules.contains(name) && name != module);
    }
    needs
}

/// What is product in the sources below a path: a text for each file.
fn product_below(path: &Path) -> Vec<String> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.flat_map(|path| product_below(&path)).collect();
    }
    if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
        return Vec::new();
    }
    vec![product(&fs::read_to_string(path).unwrap())]
}

/// Unit tests may look further up, and comments may speak of anything.
fn product(text: &str) -> String {
    let is_tests = |line: &str| line.starts_with("mod tests") || line.ends_with(" mod tests {");
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && is_tests(two[1]));
    let product = lines[..tests.unwrap_or(lines.len())].iter();
    product
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n")
}

fn add_named(code: &str, prefix: &str, found: &mut BTreeSet<String>) {
    for named in code.split(prefix).skip(1) {
        let end = named.find(|c: char| !c.is_alphanumeric() && c != '_');
        found.insert(named[..end.unwrap_or(named.len())].to_owned());
    }
}

/// All folders of modules, by their paths.
fn folders() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("interleavings") && !path.ends_with("tests") {
                let below = path.strip_prefix(src()).unwrap();
                found.push(below.to_str().unwrap().to_owned());
                walk(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&src(), &mut found);
    found
}

/// Those that need each other, directly or not.
fn knots(needs: &Needs) -> Vec<Vec<String>> {
    fn reach(needs: &Needs, from: &str, reached: &mut BTreeSet<String>) {
        for next in &needs[from] {
            if reached.insert(next.clone()) {
                reach(needs, next, reached);
            }
        }
    }
    let reached: Needs = needs
        .keys()
        .map(|module| {
            let mut reached = BTreeSet::new();
            reach(needs, module, &mut reached);
            (module.clone(), reached)
        })
        .collect();
    let knots: BTreeSet<Vec<String>> = needs
        .keys()
        .filter(|module| reached[*module].contains(*module))
        .map(|module| {
            let back = reached[module].iter().filter(|other| reached[*other].contains(module));
            back.cloned().collect()
        })
        .collect();
    knots.into_iter().collect()
}

#[test]
fn dependencies_point_down_only() {
    let needs = needs("");
    // That what is read is what is there: the top needs the joint, and the joint the ground.
    assert!(needs["prototype"].contains("framework") && needs["framework"].contains("storage"));
    assert_eq!(knots(&needs), Vec::<Vec<String>>::new(), "these need each other");
}

#[test]
fn in_each_folder_too_but_for_the_knots_that_are_known() {
    let folders = folders();
    assert!(needs("storage/log")["opening"].contains("replay"));
    for folder in &folders {
        let known = KNOTS.iter().find(|(of, _)| of == folder).map_or(&[][..], |(_, knots)| knots);
        assert_eq!(knots(&needs(folder)), known, "these need each other in {folder}");
    }
    assert!(KNOTS.iter().all(|(folder, _)| folders.iter().any(|found| found == folder)));
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
    assert!(knots(&needs(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    assert_eq!(knots(&needs(&[("a", "b"), ("b", "c"), ("c", "b")])), [["b", "c"]]);
    let two = needs(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c")]);
    assert_eq!(knots(&two), [["a", "b"], ["c", "d"]]);
}

/// Rule 15: what saves and fetches is `checkpoint::task`, and a rewrite, which decodes nothing.
#[test]
fn a_storage_is_given_batches_by_tasks_alone() {
    fn walk(folder: &Path, found: &mut BTreeMap<String, usize>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                // Storages may be made of others.
                if below != "storage" && below != "interleavings" {
                    walk(&path, found);
                }
                continue;
            }
            let calls = product_below(&path).concat().lines().filter(|line| is_call(line)).count();
            if calls > 0 {
                found.insert(below, calls);
            }
        }
    }
    fn is_call(line: &str) -> bool {
        // However a storage is called that is called.
        let mut called = [".save(", ".fetch("].into_iter().filter_map(|call| line.split_once(call));
        called.any(|(of, _)| of.ends_with("storage") || of.ends_with("storage()"))
            || line.contains("StateStorage::save")
            || line.contains("StateStorage::fetch")
    }
    let mut found = BTreeMap::new();
    walk(&src(), &mut found);
    let callers: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected = ["prototype/rewrite.rs", "task/fetch_task.rs", "task/save_state_task.rs"];
    assert_eq!(callers, expected, "{found:?}");
}
