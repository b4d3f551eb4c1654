//! Paths and texts of the operating system.

use std::path::{Path, PathBuf};

use crate::state::impls::borrowed::EncodeBorrowed;
use crate::state::impls::text::{TEXT, decode_str, encode_str};
use crate::state::{EncodeError, Encoder};

impl EncodeBorrowed for Path {
    fn encode_borrowed(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self.to_str() {
            Some(text) => encode_str(text, encoder),
            None => Err(EncodeError::unsupported("a path that is not UTF-8")),
        }
    }
}

// A text, so that a state can be moved to another platform; an `OsString` keeps any bytes.
replaced! {
    impl [] PathBuf;
    min_size: 8;
    schema: TEXT;
    encode: |this, encoder| this.as_path().encode_borrowed(encoder);
    decode: |decoder| Ok(Self::from(decode_str(decoder)?));
}

#[cfg(unix)]
mod unix {
    //! `OsString`, in serde's layout: the number of the platform, and the bytes.

    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use crate::state::Schema;

    const UNIX: u32 = 0;

    replaced! {
        impl [] OsString;
        min_size: 12;
        schema: &Schema::Primitive("unix string");
        encode: |this, encoder| {
            UNIX.encode(encoder)?;
            encoder.write_byte_string(this.as_bytes())
        };
        decode: |decoder| match u32::decode(decoder)? {
            UNIX => Ok(Self::from_vec(decoder.read_byte_string()?.to_vec())),
            other => Err(decoder.invalid_value(4, "0 for a text of unix", other)),
        };
    }
}
