//! Ranges.

use std::ops::{Range, RangeInclusive};

use crate::state::{EncodeError, Rebuild, Schema, SchemaField};

replaced! {
    impl [T: Rebuild] Range<T>;
    min_size: 2 * T::MIN_SIZE;
    schema: &Schema::Struct(&[
        SchemaField { name: "start", schema: T::schema },
        SchemaField { name: "end", schema: T::schema },
    ]);
    encode: |this, encoder| {
        this.start.encode(encoder).map_err(|err| err.in_field("start"))?;
        this.end.encode(encoder).map_err(|err| err.in_field("end"))
    };
    decode: |decoder| {
        let start = T::decode(decoder).map_err(|err| err.in_field("start"))?;
        let end = T::decode(decoder).map_err(|err| err.in_field("end"))?;
        Ok(T::rebuild(start)..T::rebuild(end))
    };
}

replaced! {
    impl [T: Rebuild + PartialOrd] RangeInclusive<T>;
    min_size: 2 * T::MIN_SIZE;
    schema: &Schema::Struct(&[
        SchemaField { name: "start", schema: T::schema },
        SchemaField { name: "last", schema: T::schema },
    ]);
    encode: |this, encoder| {
        if this.is_empty() && this.start() <= this.end() {
            // It has been iterated to its end, which the two numbers do not show.
            return Err(EncodeError::unsupported("an inclusive range that was used up"));
        }
        this.start().encode(encoder).map_err(|err| err.in_field("start"))?;
        this.end().encode(encoder).map_err(|err| err.in_field("last"))
    };
    decode: |decoder| {
        let start = T::decode(decoder).map_err(|err| err.in_field("start"))?;
        let last = T::decode(decoder).map_err(|err| err.in_field("last"))?;
        Ok(T::rebuild(start)..=T::rebuild(last))
    };
}
