//! A lock for one event.

use crate::process_error::ProcessError;
use crate::prototype::inner::Inner;
use crate::prototype::shard::{Locked, Shard};
use crate::prototype::table::Table;
use crate::reentrancy;
use crate::sync::MutexGuard;

/// A shard whose lock is held by this thread for one event, outside of any other lock.
///
/// It becomes a [`Locked`] as soon as there is anything to do beside the event. All that an event
/// needs of it stays in registers, which a `Locked` that is passed on does not.
pub(in crate::prototype) struct Brief<'a, K, P> {
    inner: &'a Inner<K, P>,
    shard: &'a Shard<K, P>,
    // Taken when the lock is given back, at the latest by the drop.
    table: Option<MutexGuard<'a, Table<K, P>>>,
}

impl<'a, K, P> Brief<'a, K, P> {
    #[inline(always)]
    pub(in crate::prototype) fn table(&mut self) -> &mut Table<K, P> {
        match &mut self.table {
            Some(table) => table,
            None => unreachable!("the lock is held until the drop"),
        }
    }

    #[inline(always)]
    pub(in crate::prototype) fn is_called(&self) -> bool {
        self.shard.is_called()
    }

    /// Gives the lock back.
    #[inline(always)]
    pub(in crate::prototype) fn leave(mut self) {
        let is_stirred = self.table.as_ref().is_some_and(|table| table.stirred);
        if self.is_called() || is_stirred {
            return drop(self.into_locked());
        }
        debug_assert!(self.table().is_calm(), "a change that must not be overlooked");
        reentrancy::set_inside_shard(false);
        self.table = None;
    }

    #[inline(always)]
    pub(in crate::prototype) fn into_locked(mut self) -> Locked<'a, K, P> {
        let table = self.table.take();
        Locked { inner: self.inner, shard: self.shard, table, was_inside: false }
    }
}

impl<K, P> Drop for Brief<'_, K, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(table) = self.table.take() {
            end_by_panic(self.inner, self.shard, table);
        }
    }
}

/// Gives the lock back of an event whose closure panicked.
#[cold]
#[inline(never)]
fn end_by_panic<K, P>(
    inner: &Inner<K, P>,
    shard: &Shard<K, P>,
    table: MutexGuard<'_, Table<K, P>>,
) {
    drop(Locked { inner, shard, table: Some(table), was_inside: false });
}

impl<K, P> Inner<K, P> {
    /// Locks a shard for one event.
    #[inline(always)]
    pub(in crate::prototype) fn lock_for_event(
        &self,
        index: usize,
    ) -> Result<Brief<'_, K, P>, ProcessError> {
        if reentrancy::is_inside_shard() {
            return Err(self.reentrant());
        }
        let shard = self.shard(index);
        let table = Some(self.table_of(shard));
        reentrancy::set_inside_shard(true);
        Ok(Brief { inner: self, shard, table })
    }
}
