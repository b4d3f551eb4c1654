//! The identifiers of the crate uuid.

use uuid::Uuid;

use crate::state::Schema;

replaced! {
    impl [] Uuid;
    min_size: 16;
    schema: &Schema::Primitive("uuid");
    encode: |this, encoder| encoder.write_bytes(this.as_bytes());
    decode: |decoder| Ok(Self::from_bytes(decoder.read_array()?));
}
