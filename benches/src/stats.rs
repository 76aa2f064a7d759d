//! Medians and quartiles of ratios and differences, taken round by round.

use serde::{Deserialize, Serialize};

use crate::rounds::Series;

/// The summary of many figures.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Median.
    pub median: f64,
    /// First quartile.
    pub low: f64,
    /// Third quartile.
    pub high: f64,
    /// Number of figures.
    pub rounds: usize,
}

impl Summary {
    /// Summarises figures; NaN if there are none.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * figures.len().saturating_sub(1) as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            let value = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
            value(low) + (value(high) - value(low)) * place.fract()
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75), rounds: figures.len() }
    }

    /// Summarises a single figure.
    pub fn exact(figure: f64) -> Self {
        Self::of(vec![figure])
    }
}

/// The figures of the series with this name.
///
/// # Panics
/// No series has this name.
pub fn named<'a>(series: &'a [Series], name: &str) -> &'a [f64] {
    let found = series.iter().find(|series| series.name == name);
    &found.unwrap_or_else(|| panic!("no series {name}")).figures
}

/// `a / b`, round by round.
pub fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

/// `a - b`, round by round.
pub fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn interpolates_quartiles() {
        let summary = Summary::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((summary.low, summary.median, summary.high), (1.75, 2.5, 3.25));
    }
}
