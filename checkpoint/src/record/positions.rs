//! Which input a state contains: for each source the position of the last event.

use std::ops::Deref;

/// Names an input source; the number is drawn once per source name and kept with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

/// The position of the last event of one source that a state contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputPosition {
    /// The source.
    pub source: SourceId,
    /// The position, in the source's own unit. No event has the highest, [`u64::MAX`]: it says that
    /// nothing of the source is contained, of a PE that has come back older than it was.
    pub position: u64,
}

/// The positions of all sources that fed a PE, in ascending order of the source; usually none or
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputPositions(Vec<InputPosition>);

impl InputPositions {
    /// Returns no positions.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Returns the positions as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[InputPosition] {
        &self.0
    }

    /// Returns whether no source fed the PE by position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the position that is contained of `source`.
    #[must_use]
    pub fn of(&self, source: SourceId) -> Option<u64> {
        let at = self.0.binary_search_by_key(&source, |p| p.source).ok()?;
        self.0.get(at).map(|p| p.position)
    }
}

impl Deref for InputPositions {
    type Target = [InputPosition];

    fn deref(&self) -> &[InputPosition] {
        &self.0
    }
}

impl FromIterator<InputPosition> for InputPositions {
    /// Keeps the highest position of each source.
    fn from_iter<I: IntoIterator<Item = InputPosition>>(positions: I) -> Self {
        let mut all: Vec<InputPosition> = positions.into_iter().collect();
        all.sort_unstable();
        all.reverse();
        all.dedup_by_key(|p| p.source);
        all.reverse();
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_position_of_each_source_counts() {
        let position = |(source, position)| InputPosition { source: SourceId(source), position };
        let positions: InputPositions =
            [(5, 2), (1, 7), (5, 9), (5, 3)].into_iter().map(position).collect();
        let of = |source| positions.of(SourceId(source));
        assert_eq!([of(1), of(5), of(0), of(3)], [Some(7), Some(9), None, None]);
        assert_eq!(positions.as_slice(), [(1, 7), (5, 9)].map(position));
        assert!(!positions.is_empty() && InputPositions::none().is_empty());
    }
}
