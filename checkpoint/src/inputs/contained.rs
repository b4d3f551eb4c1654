//! Which events a PE's state contains, of several sources.

use crate::inputs::{SourceIndex, after};
use crate::record::InputPosition;

/// For each source that has fed a PE the position of the next event that it does not contain; in
/// the order of the sources' numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contained(Vec<(SourceIndex, u64)>);

impl Contained {
    pub(crate) fn one(source: SourceIndex, next: u64) -> Self {
        Self(vec![(source, next)])
    }

    pub(crate) fn as_slice(&self) -> &[(SourceIndex, u64)] {
        &self.0
    }

    pub(crate) fn of(&self, source: SourceIndex) -> Option<u64> {
        let at = self.0.binary_search_by_key(&source, |(source, _)| *source).ok()?;
        self.0.get(at).map(|(_, next)| *next)
    }

    pub(crate) fn set(&mut self, source: SourceIndex, next: u64) {
        match self.0.binary_search_by_key(&source, |(source, _)| *source) {
            Ok(at) => {
                if let Some((_, old)) = self.0.get_mut(at) {
                    *old = next;
                }
            }
            Err(at) => self.0.insert(at, (source, next)),
        }
    }

    /// Keeps what is wanted.
    pub(crate) fn retain(&mut self, wanted: impl Fn(SourceIndex, u64) -> bool) {
        self.0.retain(|(source, next)| wanted(*source, *next));
    }

    /// Takes what a record says, given the numbers of its sources.
    pub(crate) fn from_record<E>(
        positions: &[InputPosition],
        number: impl Fn(&InputPosition) -> Result<SourceIndex, E>,
    ) -> Result<Self, E> {
        let mut contained = Self::default();
        for position in positions {
            // Nothing is written as the highest number there is.
            contained.set(number(position)?, after(position.position));
        }
        Ok(contained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SourceId;

    #[test]
    fn each_source_has_its_own() {
        let [a, b, c] = [1, 2, 3].map(SourceIndex::new);
        let mut contained = Contained::default();
        for (source, next) in [(c, 30), (a, 10), (b, 20), (a, 11)] {
            contained.set(source, next);
        }
        assert_eq!(contained.as_slice(), [(a, 11), (b, 20), (c, 30)]);
        assert_eq!([a, b, c].map(|source| contained.of(source)), [Some(11), Some(20), Some(30)]);
        contained.retain(|source, next| source != b && next > 5);
        assert_eq!((contained.of(b), contained.as_slice().len()), (None, 2));
    }

    #[test]
    fn a_record_says_which_event_was_the_last() {
        let position = |source, position| InputPosition { source: SourceId(source), position };
        let positions = [position(1, 0), position(2, 7), position(3, u64::MAX)];
        let number = |position: &InputPosition| match position.source.0 {
            n @ 1..=3 => Ok(SourceIndex::new(u16::try_from(n).unwrap())),
            _ => Err(()),
        };
        let contained = Contained::from_record(&positions, number).unwrap();
        let of = |n| contained.of(SourceIndex::new(n));
        assert_eq!([of(1), of(2), of(3), of(4)], [Some(1), Some(8), Some(0), None]);
        assert_eq!(Contained::from_record(&[position(9, 0)], number), Err(()));
    }
}
