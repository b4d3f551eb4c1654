//! The dates and times of the crate chrono.
//!
//! Stored as numbers; serde would store texts.

use chrono::{
    DateTime, Datelike, FixedOffset, Month, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta,
    Timelike, Utc, Weekday,
};

use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Schema};

fn encode_seconds(seconds: i64, nanos: u32, encoder: &mut Encoder) -> Result<(), EncodeError> {
    seconds.encode(encoder)?;
    nanos.encode(encoder)
}

fn decode_utc(decoder: &mut Decoder<'_>) -> Result<DateTime<Utc>, DecodeError> {
    let (seconds, nanos) = (i64::decode(decoder)?, u32::decode(decoder)?);
    // By itself, `from_timestamp` refuses leap seconds that are not at the end of a minute, which
    // a `DateTime` can hold.
    DateTime::from_timestamp(seconds, 0)
        .and_then(|time| time.with_nanosecond(nanos))
        .ok_or_else(|| invalid(decoder, 12, "a time"))
}

fn invalid(decoder: &Decoder<'_>, width: usize, expected: &str) -> DecodeError {
    decoder.invalid_value(width, expected, "a number out of range")
}

replaced! {
    impl [] DateTime<Utc>;
    min_size: 12;
    schema: &Schema::Primitive("utc time");
    encode: |this, encoder| {
        encode_seconds(this.timestamp(), this.timestamp_subsec_nanos(), encoder)
    };
    decode: |decoder| decode_utc(decoder);
}

replaced! {
    impl [] DateTime<FixedOffset>;
    min_size: 16;
    schema: &Schema::Primitive("time with offset");
    encode: |this, encoder| {
        encode_seconds(this.timestamp(), this.timestamp_subsec_nanos(), encoder)?;
        this.offset().local_minus_utc().encode(encoder)
    };
    decode: |decoder| {
        let time = decode_utc(decoder)?;
        match FixedOffset::east_opt(i32::decode(decoder)?) {
            Some(offset) => Ok(time.with_timezone(&offset)),
            None => Err(invalid(decoder, 4, "an offset of less than a day")),
        }
    };
}

replaced! {
    impl [] NaiveDate;
    min_size: 4;
    schema: &Schema::Primitive("date");
    encode: |this, encoder| this.num_days_from_ce().encode(encoder);
    decode: |decoder| {
        Self::from_num_days_from_ce_opt(i32::decode(decoder)?)
            .ok_or_else(|| invalid(decoder, 4, "the number of a day"))
    };
}

replaced! {
    impl [] NaiveTime;
    min_size: 8;
    schema: &Schema::Primitive("time of day");
    encode: |this, encoder| {
        this.num_seconds_from_midnight().encode(encoder)?;
        this.nanosecond().encode(encoder)
    };
    decode: |decoder| {
        let (seconds, nanos) = (u32::decode(decoder)?, u32::decode(decoder)?);
        Self::from_num_seconds_from_midnight_opt(seconds, 0)
            .and_then(|time| time.with_nanosecond(nanos))
            .ok_or_else(|| invalid(decoder, 8, "a time of day"))
    };
}

replaced! {
    impl [] NaiveDateTime;
    min_size: 12;
    schema: &Schema::Primitive("date and time");
    encode: |this, encoder| {
        this.date().encode(encoder)?;
        this.time().encode(encoder)
    };
    decode: |decoder| Ok(Self::new(NaiveDate::decode(decoder)?, NaiveTime::decode(decoder)?));
}

replaced! {
    impl [] TimeDelta;
    min_size: 12;
    schema: &Schema::Primitive("time delta");
    encode: |this, encoder| {
        // The nanoseconds have the sign of the whole; stored are seconds rounded down.
        let nanos = this.subsec_nanos();
        let borrowed = nanos < 0;
        let nanos = if borrowed { nanos + 1_000_000_000 } else { nanos };
        encode_seconds(this.num_seconds() - i64::from(borrowed), nanos.unsigned_abs(), encoder)
    };
    decode: |decoder| {
        let (seconds, nanos) = (i64::decode(decoder)?, u32::decode(decoder)?);
        Self::new(seconds, nanos).ok_or_else(|| invalid(decoder, 12, "a time delta"))
    };
}

replaced! {
    impl [] Weekday;
    min_size: 1;
    schema: &Schema::Primitive("weekday");
    encode: |this, encoder| encoder.write_bytes(&[*this as u8]);
    decode: |decoder| {
        let number = u8::decode(decoder)?;
        Self::try_from(number).map_err(|_| invalid(decoder, 1, "0 to 6 for a weekday"))
    };
}

replaced! {
    impl [] Month;
    min_size: 1;
    schema: &Schema::Primitive("month");
    encode: |this, encoder| encoder.write_bytes(&[*this as u8 + 1]);
    decode: |decoder| {
        Self::try_from(u8::decode(decoder)?).map_err(|_| invalid(decoder, 1, "1 to 12 for a month"))
    };
}
