//! The record: its bytes are checked before they are believed, and stay the same for ever.

mod damage;
mod golden;
mod mutations;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use checkpoint::{
    CheckpointId, InputPosition, InputPositions, RecordKind, RecordMeta, RecordWriter, SourceId,
    StateVersion,
};

/// A record and all that it says.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) id: CheckpointId,
    pub(crate) kind: RecordKind,
    pub(crate) partition: u32,
    pub(crate) version: StateVersion,
    pub(crate) event_count: u64,
    pub(crate) captured_at: SystemTime,
    pub(crate) idle: Duration,
    pub(crate) fingerprint: u64,
    pub(crate) positions: Vec<(u64, u64)>,
    pub(crate) payload: Vec<u8>,
}

impl Sample {
    pub(crate) fn positions(&self) -> InputPositions {
        let positions = self.positions.iter();
        let of = |&(source, position)| InputPosition { source: SourceId(source), position };
        positions.map(of).collect()
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let meta = RecordMeta {
            kind: self.kind,
            partition: self.partition,
            version: self.version,
            event_count: self.event_count,
            captured_at: self.captured_at,
            idle: self.idle,
            fingerprint: self.fingerprint,
            positions: &self.positions(),
        };
        let mut bytes = Vec::new();
        let writer = RecordWriter::begin(&mut bytes, self.id.as_ref(), &meta);
        bytes.extend_from_slice(&self.payload);
        writer.finish(&mut bytes);
        bytes
    }
}

/// One record of each shape; their bytes are in `tests/golden/record/v1`.
pub(crate) fn samples() -> Vec<Sample> {
    let plain = || Sample {
        name: "plain",
        id: CheckpointId::new("word-count", "alice").unwrap(),
        kind: RecordKind::State,
        partition: 3,
        version: StateVersion::new(2, 17),
        event_count: 100,
        captured_at: UNIX_EPOCH + Duration::from_micros(1_767_225_600_123_456),
        idle: Duration::from_millis(250),
        fingerprint: 0x0123_4567_89AB_CDEF,
        positions: Vec::new(),
        payload: b"state of alice".to_vec(),
    };
    vec![
        plain(),
        Sample {
            name: "empty",
            id: CheckpointId::new("p", "").unwrap(),
            payload: vec![],
            ..plain()
        },
        Sample { name: "tombstone", kind: RecordKind::Tombstone, payload: vec![], ..plain() },
        Sample { name: "positions", positions: vec![(1, 10), (2, u64::MAX)], ..plain() },
        Sample {
            name: "highest",
            id: CheckpointId::new("п".repeat(100), vec![0xFF; 300]).unwrap(),
            partition: u32::MAX,
            version: StateVersion::new(u64::MAX, u64::MAX),
            event_count: u64::MAX,
            idle: Duration::from_millis(u64::from(u32::MAX)),
            fingerprint: u64::MAX,
            payload: (0..=255).collect(),
            ..plain()
        },
        Sample { name: "earliest", captured_at: UNIX_EPOCH, idle: Duration::ZERO, ..plain() },
    ]
}
