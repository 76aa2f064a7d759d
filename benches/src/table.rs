//! The rows of the table: what was measured relative to what, the goal, and whether it was met.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// The goal of a figure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Goal {
    /// An upper limit.
    AtMost(f64),
    /// A lower limit.
    AtLeast(f64),
    /// No goal: the figure explains another row.
    None,
}

/// A figure and what it is compared with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its suite.
    pub suite: String,
    /// What was measured.
    pub what: String,
    /// What it is relative to.
    pub against: String,
    /// Its unit: `x` for a ratio.
    pub unit: String,
    /// The goal.
    pub goal: Goal,
    /// The measured figures.
    pub measured: Summary,
}

impl Row {
    /// Creates a row without figures and goal.
    pub fn new(suite: &str, what: impl Into<String>, against: impl Into<String>) -> Self {
        Self {
            suite: suite.to_owned(),
            what: what.into(),
            against: against.into(),
            unit: "x".to_owned(),
            goal: Goal::None,
            measured: Summary::exact(f64::NAN),
        }
    }

    /// Sets the unit and the figures.
    #[must_use]
    pub fn measured(mut self, unit: &str, figures: Vec<f64>) -> Self {
        unit.clone_into(&mut self.unit);
        self.measured = Summary::of(figures);
        self
    }

    /// The goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// Whether the median meets the goal; `near` if the goal is between the quartiles.
    pub fn verdict(&self) -> &'static str {
        let (met, limit) = match self.goal {
            Goal::AtMost(limit) => (self.measured.median <= limit, limit),
            Goal::AtLeast(limit) => (self.measured.median >= limit, limit),
            Goal::None => return "",
        };
        let is_near =
            self.measured.rounds > 1 && (self.measured.low..=self.measured.high).contains(&limit);
        match (met, is_near) {
            (true, false) => "met",
            (true, true) => "met (near)",
            (false, true) => "missed (near)",
            (false, false) => "missed",
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::AtMost(limit) => format!("<= {limit}"),
            Goal::AtLeast(limit) => format!(">= {limit}"),
            Goal::None => String::new(),
        }
    }
}

/// The rows as text, with the medians of the same rows in `last`.
pub fn render(rows: &[Row], last: &[Row]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<58} {:<26} {:>9} {:>10} {:>19} {:<4} {:<14} {:>8}",
        "what", "against", "goal", "median", "quartiles", "unit", "verdict", "last"
    );
    let mut suite = "";
    for row in rows {
        if row.suite != suite {
            suite = &row.suite;
            let _ = writeln!(text, "-- {suite}");
        }
        let before = last.iter().find(|old| {
            (&old.suite, &old.what, &old.against) == (&row.suite, &row.what, &row.against)
        });
        let spread = format!("{}..{}", number(row.measured.low), number(row.measured.high));
        let _ = writeln!(
            text,
            "{:<58} {:<26} {:>9} {:>10} {:>19} {:<4} {:<14} {:>8}",
            row.what,
            row.against,
            row.goal_text(),
            number(row.measured.median),
            if row.measured.rounds > 1 { spread } else { String::new() },
            row.unit,
            row.verdict(),
            before.map_or(String::new(), |old| number(old.measured.median)),
        );
    }
    text
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Row};

    fn verdict(goal: Goal, figures: &[f64]) -> &'static str {
        Row::new("", "", "").measured("x", figures.to_vec()).goal(goal).verdict()
    }

    #[test]
    fn judges_by_the_median_and_names_the_spread() {
        assert_eq!(verdict(Goal::AtMost(2.0), &[1.0, 1.1, 1.2]), "met");
        assert_eq!(verdict(Goal::AtMost(2.0), &[1.0, 1.9, 2.9]), "met (near)");
        assert_eq!(verdict(Goal::AtMost(2.0), &[1.0, 2.1, 2.2]), "missed (near)");
        assert_eq!(verdict(Goal::AtLeast(2.0), &[1.0, 1.1, 1.2]), "missed");
    }
}
