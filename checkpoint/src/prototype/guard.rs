//! A PE that is lent out, for long work and for holding across `.await`.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use std::hash::Hash;

use crate::capture::PeHandle;
use crate::framework::Caller;
use crate::process_error::ProcessError;
use crate::prototype::gate::Access;
use crate::prototype::inner::{Inner, Place, coarse};
use crate::prototype::key::{AsKey, Key, KeyBytes};
use crate::prototype::pe_prototype::{Attempted, PePrototype};
use crate::prototype::results::{Handling, Mail, PutBack};
use crate::state::Checkpointable;

/// A PE that is lent out: nobody else gets it before this is dropped, and no other key has to wait.
///
/// Access through `DerefMut` marks it as changed; all changes of one guard count as one event. If
/// the thread panics while it may have been changing the PE, the PE is poisoned.
///
/// A PE that is lent out cannot be checkpointed: what was changed since is at risk for as long.
/// Forgetting a guard (`std::mem::forget`) blocks its key until the keeper is closed; the keeper's
/// statistics count the PEs that are out, and waiting events get [`ProcessError::Busy`].
pub struct PeGuard<K, P> {
    inner: Arc<Inner<K, P>>,
    shard: usize,
    pe: PeHandle,
    // Taken when it is dropped.
    state: Option<P>,
    changed: bool,
}

impl<K, P> Deref for PeGuard<K, P> {
    type Target = P;

    fn deref(&self) -> &P {
        match &self.state {
            Some(state) => state,
            None => unreachable!("the state is here until the drop"),
        }
    }
}

impl<K, P> DerefMut for PeGuard<K, P> {
    fn deref_mut(&mut self) -> &mut P {
        self.changed = true;
        match &mut self.state {
            Some(state) => state,
            None => unreachable!("the state is here until the drop"),
        }
    }
}

impl<K, P> Drop for PeGuard<K, P> {
    fn drop(&mut self) {
        let effect = match self.changed {
            false => Handling::Untouched,
            true if std::thread::panicking() => Handling::Panicked,
            true => Handling::Changed,
        };
        if let Some(state) = self.state.take() {
            let back = PutBack { pe: self.pe, state, effect };
            self.inner.post(self.shard, Mail::PutBack(back));
        }
    }
}

impl<K, P: fmt::Debug> fmt::Debug for PeGuard<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeGuard").field(&**self).finish()
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Lends out the PE of `key`; it is restored or made first if it is not in memory.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn pe<A>(&self, key: A) -> Result<PeGuard<K, P>, ProcessError>
    where
        A: AsKey<K>,
        K: Borrow<A::Borrowed>,
    {
        let key = key.as_key();
        let place = self.inner.place(key);
        let mut deadline = None;
        loop {
            match self.inner.lend(place, key, Caller::MayWait)? {
                Ok(guard) => return Ok(guard),
                Err(((), hindrance)) => {
                    let deadline = *deadline.get_or_insert_with(|| self.inner.deadline());
                    self.inner.wait(key, hindrance, deadline)?;
                }
            }
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    pub(super) fn lend<Q>(
        self: &Arc<Self>,
        place: Place,
        key: &Q,
        caller: Caller,
    ) -> Attempted<PeGuard<K, P>, ()>
    where
        K: Borrow<Q>,
        Q: KeyBytes + Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut locked = self.lock(place.shard)?;
        if !self.gate.is_open()
            && let Some(hindrance) = self.barred(Access::Change)?
        {
            return Ok(Err(((), hindrance)));
        }
        let now = coarse(self.now());
        match locked.table().check_out(place.hash, key, now) {
            Ok((pe, state)) => Ok(Ok(PeGuard {
                inner: self.clone(),
                shard: place.shard,
                pe,
                state: Some(state),
                changed: false,
            })),
            Err(obstacle) => {
                let next = self.overcome(place, key, obstacle, locked, caller)?;
                Ok(Err(((), next)))
            }
        }
    }
}
