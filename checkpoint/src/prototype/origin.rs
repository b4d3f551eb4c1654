//! Where an event comes from: from nowhere that is known, or from a position of a source.

use crate::checkpoint_ticket::CheckpointTicket;
use crate::inputs::SourceIndex;

/// Where an event comes from.
pub(crate) trait Origin: Copy {
    /// Whether somebody is to be told when what the event has left is stored.
    const IS_CONFIRMED: bool = false;
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
    /// Who is to be told.
    fn ticket(&self) -> Option<&CheckpointTicket> {
        None
    }
    /// The same, once it is known not to come behind events that the PE has lost.
    fn behind_nothing_lost(self) -> Self;
}

/// What a PE says of the events that it contains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    /// Whether the PE is there: only then the rest is so.
    pub(super) is_in_order: bool,
    pub(super) has_lost_events: bool,
    pub(super) source: SourceIndex,
    pub(super) contained_to: u64,
}

/// What a look at a PE says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
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

    fn behind_nothing_lost(self) -> Self {
        self
    }
}

/// A position of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) source: SourceIndex,
    pub(crate) position: u64,
    /// A PE that says nothing of the source contains all events below.
    pub(crate) floor: u64,
    /// Whether it is known that the PE has lost nothing of the source before the event.
    pub(crate) is_behind_nothing_lost: bool,
}

impl Origin for Input {
    /// Nothing if the PE contains the event.
    type Output<R> = Option<R>;

    #[inline(always)]
    fn look(self, said: Said) -> Seen {
        if !said.is_in_order {
            return Seen::New;
        }
        if said.has_lost_events && !self.is_behind_nothing_lost {
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

    fn behind_nothing_lost(self) -> Self {
        Self { is_behind_nothing_lost: true, ..self }
    }
}

/// From the same, and somebody is to be told when what the event has left is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirmed<'a, O> {
    pub(crate) origin: O,
    pub(crate) ticket: &'a CheckpointTicket,
}

impl<O: Origin> Origin for Confirmed<'_, O> {
    const IS_CONFIRMED: bool = true;
    type Output<R> = O::Output<R>;

    fn look(self, said: Said) -> Seen {
        self.origin.look(said)
    }

    fn output<R>(result: R) -> O::Output<R> {
        O::output(result)
    }

    fn contained<R>() -> O::Output<R> {
        O::contained()
    }

    fn put(self, source: &mut SourceIndex, contained_to: &mut u64) {
        self.origin.put(source, contained_to);
    }

    fn input(self) -> Option<Input> {
        self.origin.input()
    }

    fn behind_nothing_lost(self) -> Self {
        Self { origin: self.origin.behind_nothing_lost(), ..self }
    }

    fn ticket(&self) -> Option<&CheckpointTicket> {
        Some(self.ticket)
    }
}
