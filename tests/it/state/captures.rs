//! A debug build stores nothing that would not come back as it is.

#![cfg(debug_assertions)]

use std::time::Duration;

use checkpoint::{
    Checkpointable, DecodeError, Decoder, EncodeError, Encoder, InMemoryStorage, SafeKeeper,
    SaveFailure, Schema,
};

const SECONDS: Duration = Duration::from_secs(10);

/// A number whose hand-written `decode` takes too much, or loses something.
#[derive(Default)]
struct Mismatched<const TAKEN: usize>;

impl<const TAKEN: usize> Checkpointable for Mismatched<TAKEN> {
    type Staged = ();
    const MIN_SIZE: usize = 1;
    const SCHEMA: &'static Schema = u8::SCHEMA;

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.write_bytes(&[1])
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        decoder.read_bytes(TAKEN).map(drop)
    }

    fn encode_staged((): &(), encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.write_bytes(&[0])
    }

    fn apply(&mut self, (): ()) {}
}

/// Stores a state that cannot be restored as it is; returns why it is not stored.
#[track_caller]
fn refused<P: Checkpointable + Default + Send + 'static>() -> SaveFailure {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let prototype = keeper.prototype::<u64, P>("p").create(|_| P::default()).build().unwrap();
    prototype.process(1, |_| ()).unwrap();
    let error = prototype.checkpoint(1).unwrap().wait().unwrap_err();
    assert_eq!(keeper.close(SECONDS).unwrap_err().0.failed.len(), 1);
    error.reason().clone()
}

#[test]
fn a_debug_build_finds_what_could_not_be_restored() {
    let reason = refused::<Mismatched<2>>();
    assert!(matches!(reason, SaveFailure::NotRestorable(_)), "{reason}");
}

#[test]
fn a_debug_build_finds_what_would_come_back_as_another_state() {
    let reason = refused::<Mismatched<1>>();
    assert!(matches!(reason, SaveFailure::RestoresDifferently(_)), "{reason}");
}

#[test]
fn a_debug_build_finds_it_in_a_large_state_too() {
    #[derive(Checkpointable, Default)]
    struct Large {
        wrong: Mismatched<1>,
        filler: Filler,
    }
    #[derive(Checkpointable)]
    struct Filler(Vec<u8>);
    impl Default for Filler {
        fn default() -> Self {
            Self(vec![0; 100_000])
        }
    }
    match refused::<Large>() {
        SaveFailure::RestoresDifferently(difference) => assert_eq!(difference.field(), "wrong"),
        other => panic!("{other}"),
    }
}
