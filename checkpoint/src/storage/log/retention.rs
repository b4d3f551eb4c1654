//! Which older versions of a state are kept.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which versions of a state a [`LogStorage`](crate::LogStorage) keeps besides the newest.
///
/// A version is kept for as long as it is one of the [`newest`](Self::newest), or was the newest
/// one [less than the given time ago](Self::younger_than); what is kept no longer is not found any
/// more, and its bytes are freed by compaction. The default keeps none.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use checkpoint::Retention;
///
/// // The last three, and whatever a state was within the last day.
/// let retention = Retention::newest(3).and_younger_than(Duration::from_secs(24 * 60 * 60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    older_versions_max: u64,
    younger_than: Option<Duration>,
}

impl Retention {
    /// Keeps so many older versions.
    #[must_use]
    pub const fn newest(older_versions_max: u64) -> Self {
        Self { older_versions_max, younger_than: None }
    }

    /// Keeps the versions that were replaced less than `age` ago, to the second: at each time since
    /// then it is known what the state was. The last state of a PE that was removed is kept for
    /// `age` from its own capture on.
    #[must_use]
    pub const fn younger_than(age: Duration) -> Self {
        Self { older_versions_max: 0, younger_than: Some(age) }
    }

    /// Keeps those, too, that were replaced less than `age` ago.
    #[must_use]
    pub const fn and_younger_than(self, age: Duration) -> Self {
        Self { younger_than: Some(age), ..self }
    }

    /// How many older versions it may keep.
    pub(super) fn older_versions_max(self) -> u64 {
        if self.younger_than.is_some() { u64::MAX } else { self.older_versions_max }
    }

    fn at(self, now: SystemTime) -> Keep {
        let newest = usize::try_from(self.older_versions_max).unwrap_or(usize::MAX);
        let since = self.younger_than.map(|age| seconds(now.checked_sub(age)));
        Keep { newest, since: since.unwrap_or(u32::MAX) }
    }
}

/// What is kept at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// So many older versions, whatever their age.
    pub(super) newest: usize,
    /// Those that were replaced at this time or later, in seconds since 1970.
    pub(super) since: u32,
}

/// The retention of each prototype.
#[derive(Debug, Clone, Default)]
pub(super) struct Retentions {
    pub(super) usual: Retention,
    pub(super) special: BTreeMap<String, Retention>,
}

impl Retentions {
    pub(super) fn at(&self, prototype: &str, now: SystemTime) -> Keep {
        // Most stores have none that is special.
        let special = if self.special.is_empty() { None } else { self.special.get(prototype) };
        special.copied().unwrap_or(self.usual).at(now)
    }

    fn all(&self) -> impl Iterator<Item = Retention> + '_ {
        self.special.values().copied().chain([self.usual])
    }

    /// How many older versions are kept at most.
    pub(super) fn older_versions_max(&self) -> u64 {
        self.all().map(Retention::older_versions_max).max().unwrap_or(0)
    }

    /// Whether versions are dropped although nothing is stored.
    pub(super) fn by_age(&self) -> bool {
        self.all().any(|retention| retention.younger_than.is_some())
    }
}

/// A wall-clock time in whole seconds since 1970; 0 if there is none or it is before that.
pub(super) fn seconds(time: Option<SystemTime>) -> u32 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prototype_has_its_own_or_the_usual_one() {
        let day = Duration::from_secs(86_400);
        let special = BTreeMap::from([("b".to_owned(), Retention::younger_than(day))]);
        let retentions = Retentions { usual: Retention::newest(2), special };
        let now = UNIX_EPOCH + day + Duration::from_secs(7);
        let Keep { newest, since } = retentions.at("a", now);
        assert_eq!((newest, since), (2, u32::MAX));
        let Keep { newest, since } = retentions.at("b", now);
        assert_eq!((newest, since), (0, 7));
        assert_eq!(retentions.older_versions_max(), u64::MAX);
        assert!(retentions.by_age());
        assert!(!Retentions::default().by_age());
    }
}
