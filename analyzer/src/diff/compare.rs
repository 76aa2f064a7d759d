//! What counts as a change, and what as noise.

use crate::stats::{Histogram, SiteStats};

/// Half the width of a 99 % confidence interval, in standard deviations.
const SIGMAS: f64 = 2.576;
/// From so many calls on, the median has a confidence interval.
const FEWEST_CALLS: u64 = 10;
/// Of fewer calls, all of one side must be slower than all of the other; of fewer still, nothing
/// can be said.
const FEWEST_RANGES: u64 = 3;

/// Relative changes that are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Of calls and of time in total.
    pub totals: f64,
    /// Of the median latency.
    pub latency: f64,
}

impl Tolerance {
    /// The tolerance given in percent, or the default. A single run shows nothing of the noise
    /// between runs: on a busy machine a program's median can be twice that of its last run.
    pub fn new(percent: Option<f64>, several_runs: bool) -> Self {
        let [totals, latency] = match percent {
            Some(percent) => [percent; 2],
            None if several_runs => [10.0; 2],
            None => [25.0, 100.0],
        };
        Self { totals: totals / 100.0, latency: latency / 100.0 }
    }
}

/// A number over the runs of a side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// The median.
    pub median: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Spread {
    /// Of one value a run.
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or(0);
        let last = values.len().saturating_sub(1);
        // The mean of the middle two, which are one for an odd number.
        let median = u64::midpoint(at(last / 2), at(values.len() / 2));
        Self { median, min: at(0), max: at(last) }
    }

    /// Half the range in percent of the median.
    pub fn noise(&self) -> f64 {
        (self.max - self.min) as f64 * 50.0 / self.median.max(1) as f64
    }
}

/// Whether all values of one side are above those of the other, by more than the tolerance. A
/// change from or to 0 is always one.
pub fn changed(before: &Spread, after: &Spread, tolerance: f64) -> bool {
    let apart = before.max < after.min || after.max < before.min;
    let (a, b) = (before.median as f64, after.median as f64);
    apart && (b - a).abs() > tolerance * a.min(b)
}

/// Whether latency went up (true) or down (false); `None` if the difference may be noise.
pub fn latency_change(before: &[SiteStats], after: &[SiteStats], tolerance: f64) -> Option<bool> {
    let medians = |side: &[SiteStats]| {
        Spread::of(side.iter().map(|run| run.times.percentile(50.0)).collect())
    };
    let interval = |side: &[SiteStats]| match side {
        [run] => interval(&run.times),
        _ => Some(medians(side)),
    };
    let (a, b) = (interval(before)?, interval(after)?);
    changed(&a, &b, tolerance).then_some(b.median > a.median)
}

/// The 99 % confidence interval of the median, by order statistics: valid for any distribution. Of
/// few calls, the whole range.
fn interval(times: &Histogram) -> Option<Spread> {
    let calls = times.count();
    let median = times.percentile(50.0);
    if calls < FEWEST_RANGES {
        return None;
    }
    if calls < FEWEST_CALLS {
        return Some(Spread { median, min: times.min(), max: times.max() });
    }
    let half = SIGMAS * (calls as f64).sqrt() / 2.0;
    let middle = calls as f64 / 2.0;
    Some(Spread {
        median,
        min: times.at_rank((middle - half).max(1.0) as u64),
        max: times.at_rank((middle + half).ceil() as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::{Spread, changed, latency_change};
    use crate::stats::SiteStats;

    fn run(values: impl Iterator<Item = u64>) -> [SiteStats; 1] {
        let mut stats = SiteStats::default();
        values.for_each(|value| stats.times.add(value));
        [stats]
    }

    #[test]
    fn ignores_noise_and_finds_a_shift() {
        let spread = |base: u64| (0..2_000).map(move |step: u64| base + step * 7919 % 1_000);
        let base = run(spread(10_000));
        let change = |after: &[SiteStats]| latency_change(&base, after, 0.05);
        assert_eq!(change(&run(spread(10_050))), None);
        assert_eq!(change(&run(spread(14_000))), Some(true));
        assert_eq!(latency_change(&run(spread(14_000)), &base, 0.05), Some(false));
        assert_eq!(change(&run([90_000; 5].into_iter())), Some(true), "all of few are slower");
        assert_eq!(change(&run([1_000, 90_000, 90_000].into_iter())), None);
        assert_eq!(change(&run([90_000; 2].into_iter())), None, "too few");
    }

    #[test]
    fn several_runs_must_not_overlap() {
        let side = |values: [u64; 3]| Spread::of(values.to_vec());
        assert_eq!(side([5, 1, 3]).median, 3);
        assert!(!changed(&side([100, 90, 150]), &side([200, 140, 190]), 0.1));
        assert!(changed(&side([100, 90, 130]), &side([200, 140, 190]), 0.1));
        assert!(!changed(&side([100, 100, 100]), &side([105, 105, 105]), 0.1));
        assert!(changed(&side([0, 0, 0]), &side([1, 1, 1]), 0.1));
    }
}
