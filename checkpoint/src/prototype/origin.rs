//! Where an event comes from: from nowhere that is known, or from a position of a source.

use crate::inputs::SourceIndex;

/// Where an event comes from.
pub(super) trait Origin: Copy {
    /// What an event returns to its caller whose closure returns `R`.
    type Output<R>;

    /// Looks whether the PE contains the event.
    fn look(self, said: Said) -> Seen;
    fn output<R>(result: R) -> Self::Output<R>;
    /// What is returned of an event that the PE contains already.
    fn contained<R>() -> Self::Output<R>;
    /// The PE contains the event from now on.
    fn put(self, source: &mut SourceIndex, contained_to: &mut u64);
    fn input(self) -> Option<Input>;
}

/// What a PE says of the events that it contains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    /// Whether the PE is there: only then the rest is so.
    pub(super) is_in_order: bool,
    pub(super) has_lost_events: bool,
    pub(super) source: SourceIndex,
    pub(super) contained_to: u64,
}

/// What a look at a PE says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new to the PE; or the PE is not there, which is found out next.
    New,
    Contained,
    /// Several sources feed the PE: what it contains stands elsewhere.
    Elsewhere,
    /// The PE has lost events.
    Lost,
}

/// Has no position: it runs whenever it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nowhere;

impl Origin for Nowhere {
    type Output<R> = R;

    #[inline(always)]
    fn look(self, _said: Said) -> Seen {
        Seen::New
    }

    #[inline(always)]
    fn output<R>(result: R) -> R {
        result
    }

    fn contained<R>() -> R {
        unreachable!("what has no position is contained by nothing")
    }

    #[inline(always)]
    fn put(self, _source: &mut SourceIndex, _contained_to: &mut u64) {}

    fn input(self) -> Option<Input> {
        None
    }
}

/// A position of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) source: SourceIndex,
    pub(crate) position: u64,
    /// A PE that says nothing of the source contains all events below.
    pub(crate) floor: u64,
}

impl Origin for Input {
    /// Nothing if the PE contains the event.
    type Output<R> = Option<R>;

    #[inline(always)]
    fn look(self, said: Said) -> Seen {
        if !said.is_in_order {
            return Seen::New;
        }
        if said.has_lost_events {
            return Seen::Lost;
        }
        let contained_to = match said.source {
            source if source == self.source => said.contained_to,
            SourceIndex::NONE => self.floor,
            _ => return Seen::Elsewhere,
        };
        match self.position < contained_to {
            true => Seen::Contained,
            false => Seen::New,
        }
    }

    #[inline(always)]
    fn output<R>(result: R) -> Option<R> {
        Some(result)
    }

    fn contained<R>() -> Option<R> {
        None
    }

    #[inline(always)]
    fn put(self, source: &mut SourceIndex, contained_to: &mut u64) {
        // Of several, the table takes note.
        if *source != SourceIndex::SEVERAL {
            (*source, *contained_to) = (self.source, self.position + 1);
        }
    }

    fn input(self) -> Option<Input> {
        Some(self)
    }
}
