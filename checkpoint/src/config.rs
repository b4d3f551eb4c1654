//! How one prototype's PEs are checkpointed and restored.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use thiserror::Error;

use crate::record::Compression;
#[cfg(feature = "zstd")]
use crate::record::ZstdDictionary;

/// When a PE is checkpointed without being asked.
///
/// In every mode a PE is also stored on a manual `checkpoint()`, on `flush()`, before it is
/// evicted, and on `close()`.
#[doc(alias = "org.apache.s4.core.ft.CheckpointingConfig.CheckpointingMode")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CheckpointingMode {
    /// Never.
    #[default]
    #[doc(alias = "NONE")]
    None,
    /// After so many events since the last capture.
    #[doc(alias = "EVENT_COUNT")]
    EventCount(NonZeroU64),
    /// When a change has been waiting for so long; at least 1 ms.
    #[doc(alias = "TIME")]
    Time(Duration),
    /// Whichever comes first.
    EventCountOrTime {
        /// So many events since the last capture.
        event_count: NonZeroU64,
        /// So long since the first change since the last capture; at least 1 ms.
        interval: Duration,
    },
}

impl CheckpointingMode {
    /// Returns after how many events since the last capture a PE is due.
    #[must_use]
    pub fn event_count(self) -> Option<NonZeroU64> {
        match self {
            Self::EventCount(n) | Self::EventCountOrTime { event_count: n, .. } => Some(n),
            Self::None | Self::Time(_) => None,
        }
    }

    /// Returns how long after the first change since the last capture a PE is due.
    #[must_use]
    pub fn interval(self) -> Option<Duration> {
        match self {
            Self::Time(interval) | Self::EventCountOrTime { interval, .. } => Some(interval),
            Self::None | Self::EventCount(_) => None,
        }
    }
}

/// What happens to the first event of a PE whose checkpoint cannot be restored.
///
/// A PE without a checkpoint is no error: it starts with the factory's value under every policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnRestoreError {
    /// The event gets the error and is not processed; the next one tries again.
    #[default]
    Fail,
    /// The PE starts with the newest older version that can be restored; if there is none, as
    /// `Fail`.
    ///
    /// Needs a storage that keeps older versions.
    Previous,
    /// The PE starts with the factory's value.
    StartEmpty,
}

/// What happens to an event that makes a new PE when the prototype holds as many as it may, and
/// none can be evicted because none can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFull {
    /// It waits, at most [`wait_max`](CheckpointingConfig::wait_max), and then gets an error.
    #[default]
    Block,
    /// It gets an error at once if nobody can leave. A PE that only has to be stored first can:
    /// that is waited for, at most [`wait_max`](CheckpointingConfig::wait_max), so that changes
    /// alone are no reason to refuse.
    Reject,
}

/// What happens to an event when a change has not been stored for longer than
/// [`exposure_max`](CheckpointingConfigBuilder::exposure_max), or more of its PE would not be than
/// [`exposed_events_max`](CheckpointingConfigBuilder::exposed_events_max).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnExposed {
    /// It waits, at most [`wait_max`](CheckpointingConfig::wait_max), and then gets an error.
    #[default]
    Block,
    /// It gets an error at once.
    Reject,
}

/// What happens to a PE after an event's closure panicked in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnPanic {
    /// Events on it get an error until somebody calls `recover`.
    #[default]
    Poison,
    /// It is restored from its last checkpoint by its next event; what it did since is lost, and
    /// reported.
    Reload,
}

/// How one prototype's PEs are checkpointed and restored.
///
/// # Examples
/// ```
/// use checkpoint::{CheckpointingConfig, CheckpointingMode};
/// use std::time::Duration;
///
/// let config = CheckpointingConfig::builder(CheckpointingMode::Time(Duration::from_secs(1)))
///     .expire_after(Duration::from_secs(24 * 3600))
///     .build()?;
/// assert_eq!(config.mode().interval(), Some(Duration::from_secs(1)));
/// # Ok::<(), checkpoint::InvalidConfig>(())
/// ```
#[doc(alias = "org.apache.s4.core.ft.CheckpointingConfig")]
#[derive(Debug, Clone)]
pub struct CheckpointingConfig {
    mode: CheckpointingMode,
    on_restore_error: OnRestoreError,
    on_panic: OnPanic,
    expire_after: Option<Duration>,
    recover_expired: bool,
    accepts_position_gaps: bool,
    clock_step_max: Duration,
    capacity: Option<NonZeroUsize>,
    on_full: OnFull,
    exposure_max: Option<Duration>,
    exposed_events_max: Option<NonZeroU32>,
    on_exposed: OnExposed,
    idle_max: Option<Duration>,
    wait_max: Duration,
    state_bytes_max: u64,
    quarantined_max: usize,
    shards: usize,
    compression: Option<Compression>,
    #[cfg(feature = "zstd")]
    dictionary: Option<ZstdDictionary>,
}

impl CheckpointingConfig {
    /// Returns a builder for this mode, everything else at its default.
    pub fn builder(mode: CheckpointingMode) -> CheckpointingConfigBuilder {
        CheckpointingConfigBuilder(Self { mode, ..Self::default() })
    }

    /// Returns when PEs are checkpointed.
    #[must_use]
    pub fn mode(&self) -> CheckpointingMode {
        self.mode
    }

    /// Returns what happens when a checkpoint cannot be restored.
    #[must_use]
    pub fn on_restore_error(&self) -> OnRestoreError {
        self.on_restore_error
    }

    /// Returns what happens after a panic in an event's closure.
    #[must_use]
    pub fn on_panic(&self) -> OnPanic {
        self.on_panic
    }

    /// Returns the age from which a checkpoint is not restored any more.
    #[must_use]
    pub fn expire_after(&self) -> Option<Duration> {
        self.expire_after
    }

    /// Returns whether expired checkpoints are restored all the same.
    #[must_use]
    pub fn recover_expired(&self) -> bool {
        self.recover_expired
    }

    /// Returns whether a PE may come back older than what its sources need not feed again.
    #[must_use]
    pub fn accepts_position_gaps(&self) -> bool {
        self.accepts_position_gaps
    }

    /// Returns how far the wall clock may be ahead of a checkpoint and still be believed.
    #[must_use]
    pub fn clock_step_max(&self) -> Duration {
        self.clock_step_max
    }

    /// Returns how many PEs are resident at most.
    #[must_use]
    pub fn capacity(&self) -> Option<NonZeroUsize> {
        self.capacity
    }

    /// Returns what happens when that many are, and none can leave.
    #[must_use]
    pub fn on_full(&self) -> OnFull {
        self.on_full
    }

    /// Returns for how long a change may not be stored before events are held up.
    #[must_use]
    pub fn exposure_max(&self) -> Option<Duration> {
        self.exposure_max
    }

    /// Returns how many events of a PE may not be stored.
    #[must_use]
    pub fn exposed_events_max(&self) -> Option<NonZeroU32> {
        self.exposed_events_max
    }

    /// Returns what happens to events that are held up because of that.
    #[must_use]
    pub fn on_exposed(&self) -> OnExposed {
        self.on_exposed
    }

    /// Returns how long after its first change a PE is due.
    pub(crate) fn due_within(&self) -> Option<Duration> {
        // Half of the bound: the other half is for storing it.
        let half = self.exposure_max.map(|exposure| exposure / 2);
        self.mode.interval().into_iter().chain(half).min()
    }

    /// Returns after how many events a PE is due, whatever the mode.
    pub(crate) fn due_by(&self) -> Option<u32> {
        // Half of the bound: the other half is for those that come while they are stored.
        self.exposed_events_max.map(|events| events.get().div_ceil(2))
    }

    /// Returns after how long without an event a PE is evicted.
    #[must_use]
    pub fn idle_max(&self) -> Option<Duration> {
        self.idle_max
    }

    /// Returns how long a call waits for a PE that somebody else has.
    #[must_use]
    pub fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// Returns the size in bytes of the largest encoded state.
    #[must_use]
    pub fn state_bytes_max(&self) -> u64 {
        self.state_bytes_max
    }

    /// Returns how many unreadable checkpoints are put aside.
    #[must_use]
    pub fn quarantined_max(&self) -> usize {
        self.quarantined_max
    }

    /// Returns into how many shards each partition is divided.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Returns how states are compressed, if that is not left to the keeper.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Returns the dictionary that states are compressed with.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub fn dictionary(&self) -> Option<&ZstdDictionary> {
        self.dictionary.as_ref()
    }
}

impl Default for CheckpointingConfig {
    /// Mode [`None`](CheckpointingMode::None), and the defaults that the builder states.
    fn default() -> Self {
        Self {
            mode: CheckpointingMode::None,
            on_restore_error: OnRestoreError::Fail,
            on_panic: OnPanic::Poison,
            expire_after: None,
            recover_expired: false,
            accepts_position_gaps: false,
            clock_step_max: Duration::from_secs(5 * 365 * 24 * 3600),
            capacity: None,
            on_full: OnFull::Block,
            exposure_max: None,
            exposed_events_max: None,
            on_exposed: OnExposed::Block,
            idle_max: None,
            wait_max: Duration::from_secs(10),
            state_bytes_max: 64 << 20,
            quarantined_max: 1000,
            shards: 4,
            compression: None,
            #[cfg(feature = "zstd")]
            dictionary: None,
        }
    }
}

/// Builds a [`CheckpointingConfig`].
#[doc(alias = "org.apache.s4.core.ft.CheckpointingConfig.Builder")]
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct CheckpointingConfigBuilder(CheckpointingConfig);

impl CheckpointingConfigBuilder {
    /// Sets what happens when a checkpoint cannot be restored. Default: `Fail`.
    pub fn on_restore_error(mut self, policy: OnRestoreError) -> Self {
        self.0.on_restore_error = policy;
        self
    }

    /// Sets what happens after a panic in an event's closure. Default: `Poison`.
    pub fn on_panic(mut self, policy: OnPanic) -> Self {
        self.0.on_panic = policy;
        self
    }

    /// Sets the age, counted from the PE's last event, from which a checkpoint is not restored: the
    /// PE starts with the factory's value. The checkpoint stays in the storage until it is
    /// overwritten. Default: never; at least 1 ms.
    pub fn expire_after(mut self, age: Duration) -> Self {
        self.0.expire_after = Some(age);
        self
    }

    /// Sets whether expired checkpoints are restored all the same. Default: no.
    pub fn recover_expired(mut self, recover: bool) -> Self {
        self.0.recover_expired = recover;
        self
    }

    /// Sets whether a PE may come back older than what its [sources](crate::Source) need not feed
    /// again: by [`OnRestoreError::StartEmpty`] or [`OnRestoreError::Previous`], a roll-back or a
    /// reload. Default: no: its events get a
    /// [`PositionGap`](crate::RestoreFailure::PositionGap) until the source is rewound. It is not
    /// known which sources ever fed a PE that names none: so that holds of each source of the
    /// keeper, also where none feeds this prototype; say `true` there. With `true`,
    /// the events in between are missing from the PE for ever.
    pub fn accept_position_gaps(mut self, accept: bool) -> Self {
        self.0.accepts_position_gaps = accept;
        self
    }

    /// Sets how far the wall clock may be ahead of a checkpoint and still be believed: beyond, it
    /// is taken as set wrong, nothing expires, and the log says so. A clock that is behind is never
    /// believed. Default: 5 years; at least 1 ms, and never less than twice
    /// [`expire_after`](Self::expire_after).
    pub fn clock_step_max(mut self, step: Duration) -> Self {
        self.0.clock_step_max = step;
        self
    }

    /// Sets how many PEs are resident at most. Beyond, those without an event for the longest time
    /// are stored, if they have changed, and dropped from memory. Default: no limit.
    pub fn capacity(mut self, resident_max: NonZeroUsize) -> Self {
        self.0.capacity = Some(resident_max);
        self
    }

    /// Sets what happens when the capacity is reached and no PE can leave. Default: `Block`.
    pub fn on_full(mut self, policy: OnFull) -> Self {
        self.0.on_full = policy;
        self
    }

    /// Sets for how long a change may be in memory only. A changed PE is due after half of that,
    /// whatever the mode; and if the storage does not keep up, events that would change more are
    /// held up until it has stored what is older. Reads are not. It is no bound for PEs that are
    /// lent out, nor for those that cannot be stored before they change again, which hold up
    /// nobody. Default: no bound; at least 2 ms. Ages are exact to a sixteenth of the bound, from
    /// 1 ms to 100 ms.
    pub fn exposure_max(mut self, age: Duration) -> Self {
        self.0.exposure_max = Some(age);
        self
    }

    /// Sets how many events of a PE may be in memory only. A PE is due after half as many, whatever
    /// the mode; and if the storage does not keep up, further events of that PE, and of no other,
    /// are held up until it has stored some. Reads are not, nor what its
    /// [sources](crate::Source) feed again that it contains. With 1, each event of a PE waits until
    /// the one before is stored. Events that have failed without a change do not count, nor those
    /// whose state was refused for good (as too large, say): they stay at risk until a later state
    /// is stored, and so many more may come before that is tried. Default: no bound.
    pub fn exposed_events_max(mut self, events: NonZeroU32) -> Self {
        self.0.exposed_events_max = Some(events);
        self
    }

    /// Sets what happens to events that are held up by [`exposure_max`](Self::exposure_max) or
    /// [`exposed_events_max`](Self::exposed_events_max). Default: `Block`.
    pub fn on_exposed(mut self, policy: OnExposed) -> Self {
        self.0.on_exposed = policy;
        self
    }

    /// Sets after how long without an event a PE is stored, if it has changed, and dropped from
    /// memory. Default: never; at least 1 ms.
    pub fn idle_max(mut self, idle: Duration) -> Self {
        self.0.idle_max = Some(idle);
        self
    }

    /// Sets how long a call waits for a PE that a guard or another thread has. Default: 10 s.
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.0.wait_max = wait;
        self
    }

    /// Sets the size in bytes of the largest encoded state. A larger one is a permanent error of
    /// that PE, which stays in memory. Default: 64 MiB; 1 to 2 GiB.
    pub fn state_bytes_max(mut self, bytes: u64) -> Self {
        self.0.state_bytes_max = bytes;
        self
    }

    /// Sets how many checkpoints that could not be restored are put aside before a newer state
    /// replaces them. When so many are, such a PE is not stored before some were discarded.
    /// Default: 1000.
    pub fn quarantined_max(mut self, count: usize) -> Self {
        self.0.quarantined_max = count;
        self
    }

    /// Sets into how many shards each partition is divided, each with its own lock. Nothing stored
    /// depends on it. Default: 4; a power of two, up to 1024.
    pub fn shards(mut self, shards: usize) -> Self {
        self.0.shards = shards;
        self
    }

    /// Sets how states are compressed before they are stored. Default: as the
    /// [keeper's](crate::SafeKeeperBuilder::compression) are.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.0.compression = Some(compression);
        self
    }

    /// Sets the dictionary that zstd compresses states with. It is put into the store when the
    /// prototype is built, and stays there for what was compressed with it. Default: none.
    #[cfg(feature = "zstd")]
    pub fn dictionary(mut self, dictionary: ZstdDictionary) -> Self {
        self.0.dictionary = Some(dictionary);
        self
    }

    /// Checks the configuration and returns it.
    ///
    /// # Errors
    /// A value is outside the limits that its setter states.
    pub fn build(self) -> Result<CheckpointingConfig, InvalidConfig> {
        let config = self.0;
        let at_least = |name, value: Option<Duration>, min| match value {
            Some(value) if value < min => Err(InvalidConfig::TooShort { name, value, min }),
            _ => Ok(()),
        };
        let millisecond = Duration::from_millis(1);
        at_least("mode's interval", config.mode.interval(), millisecond)?;
        at_least("expire_after", config.expire_after, millisecond)?;
        at_least("idle_max", config.idle_max, millisecond)?;
        at_least("exposure_max", config.exposure_max, 2 * millisecond)?;
        at_least("clock_step_max", Some(config.clock_step_max), millisecond)?;
        let outside = |name, value, min, max| {
            if value < min || value > max {
                return Err(InvalidConfig::OutOfRange { name, value, min, max });
            }
            Ok(())
        };
        outside("state_bytes_max", config.state_bytes_max, 1, 2 << 30)?;
        outside("shards", config.shards as u64, 1, 1024)?;
        if !config.shards.is_power_of_two() {
            return Err(InvalidConfig::NoPowerOfTwo { name: "shards", value: config.shards });
        }
        check_compression(config.compression.unwrap_or_default())?;
        Ok(config)
    }
}

/// Checks that a compression's level is one.
pub(crate) fn check_compression(compression: Compression) -> Result<(), InvalidConfig> {
    match compression.level() {
        Some((value, levels)) if !levels.contains(&value) => {
            Err(InvalidConfig::Level { value, min: *levels.start(), max: *levels.end() })
        }
        _ => Ok(()),
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// A time is too short.
    #[error("{name} is {value:?}, and must be at least {min:?}")]
    TooShort {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: Duration,
        /// The least that it can be.
        min: Duration,
    },
    /// A number is too small or too large.
    #[error("{name} is {value}, and must be from {min} to {max}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: u64,
        /// The least that it can be.
        min: u64,
        /// The most that it can be.
        max: u64,
    },
    /// A compression has no such level.
    #[error("the level of compression is {value}, and must be from {min} to {max}")]
    Level {
        /// What it was set to.
        value: i32,
        /// The least that it can be.
        min: i32,
        /// The most that it can be.
        max: i32,
    },
    /// A number is no power of two.
    #[error("{name} is {value}, and must be a power of two")]
    NoPowerOfTwo {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_says_after_how_many_events_and_after_what_time_a_pe_is_due() {
        let (event_count, interval) = (NonZeroU64::new(7).unwrap(), Duration::from_secs(3));
        let of = |mode: CheckpointingMode| (mode.event_count(), mode.interval());
        assert_eq!(of(CheckpointingMode::None), (None, None));
        assert_eq!(of(CheckpointingMode::EventCount(event_count)), (Some(event_count), None));
        assert_eq!(of(CheckpointingMode::Time(interval)), (None, Some(interval)));
        let both = CheckpointingMode::EventCountOrTime { event_count, interval };
        assert_eq!(of(both), (Some(event_count), Some(interval)));
    }

    #[test]
    fn a_pe_is_due_within_its_interval_and_half_of_what_exposure_may_be() {
        let due_within = |mode, exposure_max: Option<u64>| {
            let builder = CheckpointingConfig::builder(mode);
            let builder = match exposure_max {
                Some(seconds) => builder.exposure_max(Duration::from_secs(seconds)),
                None => builder,
            };
            builder.build().unwrap().due_within().map(|within| within.as_millis())
        };
        let three_seconds = CheckpointingMode::Time(Duration::from_secs(3));
        assert_eq!(due_within(CheckpointingMode::None, None), None);
        assert_eq!(due_within(CheckpointingMode::None, Some(5)), Some(2500));
        assert_eq!(due_within(three_seconds, None), Some(3000));
        assert_eq!(due_within(three_seconds, Some(5)), Some(2500));
        assert_eq!(due_within(three_seconds, Some(50)), Some(3000));
    }

    #[track_caller]
    fn check(name: &str, builder: CheckpointingConfigBuilder, is_within: bool) {
        match builder.build() {
            Ok(_) => assert!(is_within, "{name} is accepted"),
            Err(error) => assert!(!is_within && error.to_string().starts_with(name), "{error}"),
        }
    }

    #[test]
    fn times_are_not_shorter_than_can_be_measured() {
        let builder = || CheckpointingConfig::builder(CheckpointingMode::None);
        for (micros, is_within) in [(999, false), (1000, true)] {
            let time = Duration::from_micros(micros);
            let by_time = CheckpointingConfig::builder(CheckpointingMode::Time(time));
            check("mode's interval", by_time, is_within);
            check("expire_after", builder().expire_after(time), is_within);
            check("idle_max", builder().idle_max(time), is_within);
            check("exposure_max", builder().exposure_max(2 * time), is_within);
            check("clock_step_max", builder().clock_step_max(time), is_within);
        }
    }

    #[test]
    fn limits_are_checked_in_build() {
        let builder = || CheckpointingConfig::builder(CheckpointingMode::None);
        for (shards, is_within) in [(0, false), (1, true), (3, false), (1024, true), (2048, false)]
        {
            check("shards", builder().shards(shards), is_within);
        }
        let most = 2 << 30;
        for (bytes, is_within) in [(0, false), (1, true), (most, true), (most + 1, false)] {
            check("state_bytes_max", builder().state_bytes_max(bytes), is_within);
        }
    }
}
