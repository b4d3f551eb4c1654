//! Durations and times.

use std::time::{Duration, SystemTime};

use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Schema};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

#[inline]
fn encode(duration: Duration, encoder: &mut Encoder) -> Result<(), EncodeError> {
    duration.as_secs().encode(encoder)?;
    duration.subsec_nanos().encode(encoder)
}

#[inline]
fn decode(decoder: &mut Decoder<'_>) -> Result<Duration, DecodeError> {
    let seconds = u64::decode(decoder)?;
    let nanos = u32::decode(decoder)?;
    if nanos >= NANOS_PER_SECOND {
        return Err(decoder.invalid_value(4, "less than 1,000,000,000 nanoseconds", nanos));
    }
    Ok(Duration::new(seconds, nanos))
}

replaced! {
    impl [] Duration;
    min_size: 12;
    schema: &Schema::Primitive("duration");
    encode: |this, encoder| encode(*this, encoder);
    decode: |decoder| decode(decoder);
}

replaced! {
    impl [] SystemTime;
    min_size: 12;
    schema: &Schema::Primitive("system time");
    encode: |this, encoder| match this.duration_since(Self::UNIX_EPOCH) {
        Ok(since_epoch) => encode(since_epoch, encoder),
        Err(_) => Err(EncodeError::unsupported("a time before 1970")),
    };
    decode: |decoder| {
        let since_epoch = decode(decoder)?;
        match Self::UNIX_EPOCH.checked_add(since_epoch) {
            Some(time) => Ok(time),
            None => Err(decoder.invalid_value(12, "a time", "one beyond what the system knows")),
        }
    };
}
