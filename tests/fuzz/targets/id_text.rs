//! Reads a text as an id, and makes an id of any name and key: each id has one text, each text at
//! most one id.

#![no_main]

use checkpoint::CheckpointId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(id) = text.parse::<CheckpointId>()
    {
        assert_eq!(id.to_text(), text);
        check(&id);
    }
    let Some((&length, bytes)) = bytes.split_first() else { return };
    let (name, key) = bytes.split_at(usize::from(length).min(bytes.len()));
    if let Ok(name) = std::str::from_utf8(name)
        && let Ok(id) = CheckpointId::new(name, key)
    {
        check(&id);
    }
});

fn check(id: &CheckpointId) {
    let text = id.to_text();
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.%/".contains(&byte)));
    assert_eq!(text.parse::<CheckpointId>().as_ref(), Ok(id));
    // What people are shown is on one line and short.
    for shown in [id.to_string(), format!("{id:?}")] {
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(shown.len() < 10 * id.prototype().len() + 1_000, "{shown:?}");
    }
}
