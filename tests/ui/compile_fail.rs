//! Mistakes in a derived type are reported by messages that say what to write instead.

#[test]
fn each_mistake_has_its_message() {
    let cases = trybuild::TestCases::new();
    for topic in ["attribute", "bound", "call", "serde", "storage", "transient", "type"] {
        cases.compile_fail(format!("{topic}/*.rs"));
    }
    cases.pass("pass/*.rs");
}
