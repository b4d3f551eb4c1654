//! How times are taken: medians of rounds in which every way runs once, so that all have the same
//! weather; histograms of single events.

use std::time::{Duration, Instant};

/// A whole number from the environment, or a default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|err| panic!("{name}={text}: {err}")),
        Err(_) => default,
    }
}

/// Whether each thing is to be measured for a moment only, to see that it works.
pub(crate) fn is_quick() -> bool {
    setting("CHECKPOINT_BENCH_QUICK", 0) != 0
}

/// Whether a part of a bench is to run: all do if no argument names one.
pub(crate) fn is_wanted(part: &str) -> bool {
    // Cargo adds options.
    let named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let parts: Vec<_> = named.collect();
    parts.is_empty() || parts.iter().any(|named| named == part)
}

/// Returns ns per event.
pub(crate) fn time(events: u64, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e9 / events as f64
}

pub(crate) fn on_two_threads(events: u64, work: impl Fn(u64, u64) + Sync) {
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            let work = &work;
            scope.spawn(move || work(events / 2, seed));
        }
    });
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A way to do it, by name; it gets the number of events.
pub(crate) type Way<'a> = (&'static str, Box<dyn Fn(u64) + 'a>);

/// Runs all ways once in each round, and returns the median of each one's ratio to the first.
pub(crate) fn compare(ways: &[Way<'_>], events: u64, rounds: u64) -> Vec<Compared> {
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((_, way), times) in ways.iter().zip(&mut times) {
            times.push(time(events, || way(events)));
        }
    }
    let base = times.first().cloned().unwrap_or_default();
    let compared = |times: Vec<f64>| {
        // Each with the base of its own round: what slowed down one slowed down the other.
        let ratios = base.iter().zip(&times).map(|(base, time)| base / time).collect();
        Compared { ns: median(times), speed: median(ratios) }
    };
    times.into_iter().map(compared).collect()
}

/// A way beside the first one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    /// The median of the times, in ns per event.
    pub(crate) ns: f64,
    /// How many events in the time that the first way takes for one.
    pub(crate) speed: f64,
}

/// Counts durations, 64 to each power of two, so that quantiles are exact to 2 %.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

const SUB_BITS: u32 = 6;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 << SUB_BITS], total: 0, max: 0 }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, time: Duration) {
        let nanos = time.as_nanos() as u64;
        let shift = (63 - (nanos | 1).leading_zeros()).saturating_sub(SUB_BITS);
        let at = (u64::from(shift) << SUB_BITS) + (nanos >> shift);
        if let Some(count) = self.counts.get_mut(at as usize) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The duration that a share of all does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let at = at as u64;
                // The first two octaves share a shift of zero.
                let shift = (at >> SUB_BITS).saturating_sub(1);
                let nanos = (at - (shift << SUB_BITS)) << shift;
                return Duration::from_nanos(nanos);
            }
        }
        self.max()
    }
}
