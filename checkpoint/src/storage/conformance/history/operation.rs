//! What a history is made of.

use crate::random::RandomSource;

/// How many ids, metadata names and partitions a history plays with: few, so that it comes back to
/// the same ones.
pub(super) const IDS: u64 = 6;
pub(super) const NAMES: u64 = 2;
pub(super) const PARTITIONS: u64 = 2;

/// One call, in relation to what is stored when it is made.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// Saves a batch; no id is in it twice.
    Save(Vec<Saved>),
    /// Fetches ids, and what came before the newest, and the newest by its number.
    Fetch(Vec<u64>),
    Versions(u64),
    List,
    OpenEpoch(u32),
    Put {
        name: u64,
        over: Over,
        bytes: usize,
    },
    ReadMetadata(u64),
    Reopen,
}

/// One entry of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    pub(super) id: u64,
    pub(super) version: Relation,
    pub(super) removal: bool,
    pub(super) bytes: usize,
}

/// A version, in relation to the one that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// The next, or one further on.
    Newer(u64),
    /// The same record again.
    Same,
    /// A lower sequence number of the same epoch.
    Older,
    /// A higher sequence number of a lower epoch.
    OfFormerOwner,
}

/// Which version a put expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Current,
    Nothing,
    /// One that is not there.
    Other,
}

impl Operation {
    /// Draws a history.
    pub(super) fn draw(
        random: &dyn RandomSource,
        operations: usize,
        can_reopen: bool,
    ) -> Vec<Self> {
        (0..operations).map(|_| Self::draw_one(random, can_reopen)).collect()
    }

    fn draw_one(random: &dyn RandomSource, can_reopen: bool) -> Self {
        let below = |limit: u64| random.next_u64() % limit;
        match below(100) {
            0..46 => {
                let count = if below(3) == 0 { 1 + below(IDS) } else { 1 };
                let first = below(IDS);
                let ids = (first..first + count).map(|id| id % IDS);
                Self::Save(ids.map(|id| Saved::draw(random, id)).collect())
            }
            46..60 => {
                let first = below(IDS);
                Self::Fetch((first..=first + below(IDS)).map(|id| id % IDS).collect())
            }
            60..66 => Self::Versions(below(IDS)),
            66..75 => Self::List,
            75..82 => Self::OpenEpoch(u32::try_from(below(PARTITIONS)).unwrap_or(0)),
            82..88 => {
                let over = match below(4) {
                    0 => Over::Nothing,
                    1 => Over::Other,
                    _ => Over::Current,
                };
                Self::Put { name: below(NAMES), over, bytes: size(random) }
            }
            88..91 => Self::ReadMetadata(below(NAMES)),
            _ if can_reopen => Self::Reopen,
            _ => Self::List,
        }
    }
}

impl Saved {
    fn draw(random: &dyn RandomSource, id: u64) -> Self {
        let version = match random.next_u64() % 10 {
            0 => Relation::Same,
            1 => Relation::Older,
            2 => Relation::OfFormerOwner,
            further => Relation::Newer(1 + further % 3),
        };
        Self { id, version, removal: random.next_u64().is_multiple_of(4), bytes: size(random) }
    }
}

fn size(random: &dyn RandomSource) -> usize {
    let bytes = match random.next_u64() % 10 {
        0 => 0,
        1 => 1,
        2 => random.next_u64() % 9_000,
        _ => random.next_u64() % 200,
    };
    usize::try_from(bytes).unwrap_or(0)
}
