//! The small strings of the crate `smol_str`.

use smol_str::SmolStr;

use crate::state::impls::text::{TEXT, decode_str, encode_str};

replaced! {
    impl [] SmolStr;
    min_size: 8;
    schema: TEXT;
    encode: |this, encoder| encode_str(this, encoder);
    decode: |decoder| Ok(Self::new(decode_str(decoder)?));
}
