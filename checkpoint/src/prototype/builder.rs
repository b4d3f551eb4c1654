//! Builds prototypes.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::check_prototype_name;
use crate::clock::Timestamp;
use crate::config::CheckpointingConfig;
use crate::framework::{CheckpointSource, CheckpointingFramework, NewPrototype, RegisterError};
use crate::prototype::hooks::{Hooks, OnTime};
use crate::prototype::inner::{Inner, Parts};
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::PePrototype;
use crate::prototype::sealed;
use crate::state::{Checkpointable, SchemaDescription};
use crate::sync::Mutex;

/// Builds a [`PePrototype`]: first [`config`](Self::config), then [`create`](Self::create).
#[must_use = "a builder does nothing before `build`"]
pub struct PrototypeBuilder<K, P> {
    framework: Arc<dyn CheckpointingFramework>,
    name: Arc<str>,
    config: CheckpointingConfig,
    types: PhantomData<fn() -> (K, P)>,
}

/// Builds a [`PePrototype`] that has its factory.
#[must_use = "a builder does nothing before `build`"]
pub struct PrototypeBuilderWithFactory<K, P> {
    builder: PrototypeBuilder<K, P>,
    factory: Box<dyn Fn(&K) -> P + Send + Sync>,
    hooks: Hooks<K, P>,
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Returns a builder of the prototype of this name, over any framework.
    ///
    /// The name is what its PEs are stored under: it must stay the same. 1 to 200 bytes, no control
    /// characters. The name of the type plays no role.
    pub fn builder(
        framework: Arc<dyn CheckpointingFramework>,
        name: impl Into<Arc<str>>,
    ) -> PrototypeBuilder<K, P> {
        PrototypeBuilder {
            framework,
            name: name.into(),
            config: CheckpointingConfig::default(),
            types: PhantomData,
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> PrototypeBuilder<K, P> {
    /// Sets how the PEs are checkpointed and restored. Default: only on request, on eviction and on
    /// close.
    pub fn config(mut self, config: CheckpointingConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the factory, which makes the PE of a key.
    ///
    /// It runs when a PE is made, and before one is restored: transient fields keep what it gave
    /// them. It runs on the thread that has the event, on one of the keeper's or on one that
    /// restores many PEs, with no lock held.
    pub fn create(
        self,
        factory: impl Fn(&K) -> P + Send + Sync + 'static,
    ) -> PrototypeBuilderWithFactory<K, P> {
        let factory = Box::new(factory);
        PrototypeBuilderWithFactory { builder: self, factory, hooks: Hooks::default() }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> PrototypeBuilderWithFactory<K, P> {
    /// Sets what is done with a PE that was made because nothing was stored of it.
    ///
    /// It runs with no lock held, before the PE's first event. A panic in it is as one in the
    /// factory.
    pub fn on_create(mut self, hook: impl Fn(&K, &mut P) + Send + Sync + 'static) -> Self {
        self.hooks.on_create = Some(Box::new(hook));
        self
    }

    /// Sets what must hold of a PE that was restored.
    ///
    /// A checkpoint whose checksum is right may still break a rule of the application's own, stored
    /// by a faulty version of it. What is refused here cannot be restored: the prototype's
    /// [`OnRestoreError`](crate::OnRestoreError) decides, and nothing is lost. It runs with no lock
    /// held, before `on_restore`; it is not asked again about a version that it refused. A panic in
    /// it is as one in the factory.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{InMemoryStorage, SafeKeeper};
    ///
    /// let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    /// let balances = keeper
    ///     .prototype::<String, i64>("balance")
    ///     .create(|_| 0)
    ///     .validate(|_, balance| if *balance < 0 { Err("below zero") } else { Ok(()) })
    ///     .build()?;
    /// balances.process("alice", |balance| *balance += 5)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn validate<E>(
        mut self,
        check: impl Fn(&K, &P) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.hooks.validate = Some(Box::new(move |key, pe| check(key, pe).map_err(Into::into)));
        self
    }

    /// Sets what is done with a PE that was restored, before its first event.
    ///
    /// It runs with no lock held. What it changes is not marked as changed.
    pub fn on_restore(mut self, hook: impl Fn(&K, &mut P) + Send + Sync + 'static) -> Self {
        self.hooks.on_restore = Some(Box::new(hook));
        self
    }

    /// Sets what is done with a PE that was removed, before it is dropped.
    #[doc(alias = "onRemove")]
    pub fn on_remove(mut self, hook: impl Fn(&K, &mut P) + Send + Sync + 'static) -> Self {
        self.hooks.on_remove = Some(Box::new(hook));
        self
    }

    /// Sets who is told of a PE whose checkpoint has expired: it starts with the factory's value.
    pub fn on_expire(mut self, hook: impl Fn(&K) + Send + Sync + 'static) -> Self {
        self.hooks.on_expire = Some(Box::new(hook));
        self
    }

    /// Adds something that is done with each PE in memory every `interval`, between its events.
    ///
    /// It runs on one of the keeper's threads, under the PE's shard's lock, and counts as a change,
    /// also where changes are counted until a PE is due. It keeps no PE alive: one that only it
    /// touches still leaves memory when it is idle, and its checkpoint expires. PEs that are lent
    /// out or poisoned are left out; those of a shard whose lock is held for long
    /// are visited when it is given back. A panic poisons the PE.
    #[doc(alias = "onTime")]
    pub fn on_time(
        mut self,
        interval: Duration,
        run: impl Fn(&K, &mut P) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_time.push(OnTime {
            interval: interval.max(Duration::from_millis(1)),
            next: Mutex::new(Timestamp::default()),
            left: Mutex::default(),
            run: Box::new(run),
        });
        self
    }

    /// Registers the prototype with its framework, and returns a handle.
    ///
    /// # Errors
    /// The name is none or is taken, the store has other keys under it, or the configuration asks
    /// for what the storage cannot do.
    pub fn build(self) -> Result<PePrototype<K, P>, RegisterError> {
        let Self { builder, factory, hooks } = self;
        let PrototypeBuilder { framework, name, config, .. } = builder;
        let error_name = || name.to_string();
        check_prototype_name(&name)
            .map_err(|error| RegisterError::InvalidName { name: error_name(), error })?;
        let schema = SchemaDescription::of::<P>();
        let key_type = K::key_type();
        let prototype =
            NewPrototype { name: &name, key_type: &key_type, schema: &schema, config: &config };
        let registration = framework.register(&prototype)?;
        let storage = registration.storage.as_ref().and_then(std::sync::Weak::upgrade);
        prototype.check_policy(storage.as_deref())?;
        let sealing = sealed::sealing(&name, &config, &registration, storage.as_deref())?;
        for on_time in &hooks.on_time {
            *on_time.next.lock() = registration.clock.now().after(on_time.interval);
        }
        let index = registration.index;
        let framework_of = framework.clone();
        let parts =
            Parts { name, framework: framework_of, config, sealing, schema, factory, hooks };
        let inner = Arc::new(Inner::new(parts, registration));
        let source: Arc<dyn CheckpointSource> = inner.clone();
        let first_tick = source.tick(inner.clock.now());
        framework.attach(index, source);
        if let Some(at) = first_tick {
            framework.call_at(index, at);
        }
        Ok(PePrototype { inner })
    }
}

impl<K, P> fmt::Debug for PrototypeBuilder<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrototypeBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, P> fmt::Debug for PrototypeBuilderWithFactory<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builder.fmt(f)
    }
}
