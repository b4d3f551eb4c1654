//! Ids: the text form is lossless, whatever the bytes.

use std::collections::HashMap;

use checkpoint::CheckpointId;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

proptest! {
    #[test]
    fn the_text_form_is_lossless_and_plain(name in "[^\\p{C}]{1,40}", key in any::<Vec<u8>>()) {
        let id = CheckpointId::new(name, &key).unwrap();
        let text = id.to_text();
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%/".contains(&b)));
        prop_assert_eq!(text.matches('/').count(), 1);
        prop_assert_eq!(text.parse::<CheckpointId>().unwrap(), id);
    }

    #[test]
    fn a_text_is_the_form_of_one_id_only(text in "[a-c%/0-9A-F]{0,12}") {
        if let Ok(id) = text.parse::<CheckpointId>() {
            prop_assert_eq!(id.to_text(), text);
        }
    }

    #[test]
    fn different_ids_have_different_texts(ids in any::<Vec<(u8, Vec<u8>)>>()) {
        let mut texts = HashMap::new();
        for (name, key) in ids {
            let id = CheckpointId::new(format!("p{}", name % 3), key).unwrap();
            if let Some(other) = texts.insert(id.to_text(), id.clone()) {
                prop_assert_eq!(other, id);
            }
        }
    }
}

#[test]
fn the_longest_key_survives_the_text_form() {
    let id = CheckpointId::new("p", vec![0xFF; 65_536]).unwrap();
    assert_eq!(id.to_text().parse::<CheckpointId>().unwrap(), id);
}
