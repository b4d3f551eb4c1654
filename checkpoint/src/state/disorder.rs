//! Which parts of an encoded state have no order of their own.
//!
//! Two encodings of one state may differ there: a hash map that was decoded hands out its entries
//! in another order than the one that was encoded. Sorted, they are equal.

use std::ops::Range;

/// The parts of an encoded state that have no order of their own.
#[derive(Debug, Default)]
pub(crate) struct Disorder {
    /// Where in its buffer the state begins; all other places count from there.
    begin: usize,
    /// Those inside of others come first.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// With the number of the elements.
    place: Range<usize>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// Elements in any order; where each begins, and where the last one ends.
    OfElements(Vec<usize>),
    /// Serde tells nobody which of its sequences was a hash set: in whatever order they are, the
    /// bytes are the same, each as often.
    Hidden,
}

impl Disorder {
    pub(super) fn beginning_at(begin: usize) -> Self {
        Self { begin, parts: Vec::new() }
    }

    /// Notes elements; `bounds` says where each begins, and where the last one ends.
    pub(super) fn note_elements(&mut self, start: usize, mut bounds: Vec<usize>) {
        for bound in &mut bounds {
            *bound -= self.begin;
        }
        let start = start - self.begin;
        let end = bounds.last().copied().unwrap_or(start);
        self.parts.push(Part { place: start..end, order: Order::OfElements(bounds) });
    }

    /// Notes bytes of which nobody knows what is in which order.
    pub(super) fn note_bytes(&mut self, start: usize, end: usize) {
        let place = start - self.begin..end - self.begin;
        self.parts.push(Part { place, order: Order::Hidden });
    }

    /// Returns the state with all parts that have no order sorted.
    pub(super) fn sorted(&self, state: &[u8]) -> Vec<u8> {
        let mut sorted = state.to_vec();
        for Part { place, order } in &self.parts {
            match order {
                Order::OfElements(bounds) => sort_elements(&mut sorted, bounds),
                Order::Hidden => {
                    sorted.get_mut(place.clone()).unwrap_or_default().sort_unstable();
                }
            }
        }
        sorted
    }

    /// Returns where the outermost part begins that contains the byte; the byte, if there is none.
    pub(super) fn begin_of_part_with(&self, byte: usize) -> usize {
        let around = self.parts.iter().filter(|part| part.place.contains(&byte));
        around.map(|part| part.place.start).min().unwrap_or(byte)
    }
}

fn sort_elements(state: &mut [u8], bounds: &[usize]) {
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else { return };
    let ends = bounds.iter().skip(1);
    let mut elements: Vec<&[u8]> = bounds
        .iter()
        .zip(ends)
        .map(|(begin, end)| state.get(*begin..*end).unwrap_or_default())
        .collect();
    elements.sort_unstable();
    let sorted = elements.concat();
    if let Some(place) = state.get_mut(*first..*last) {
        place.copy_from_slice(&sorted);
    }
}
