//! One line of the table: what was measured against what, the goal, and whether it was met.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// Where a figure must arrive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Goal {
    /// Not above.
    AtMost(f64),
    /// Not below.
    AtLeast(f64),
    /// Nowhere: measured to explain another row.
    None,
}

/// One figure and what it is held against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The suite it comes from.
    pub suite: String,
    /// What was measured.
    pub what: String,
    /// Against what.
    pub against: String,
    /// Unit of the figures: `x` for a ratio.
    pub unit: String,
    /// Where it must arrive.
    pub goal: Goal,
    /// Where it arrived.
    pub measured: Summary,
}

impl Row {
    /// A row.
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

    /// Its figures and their unit.
    #[must_use]
    pub fn measured(mut self, unit: &str, figures: Vec<f64>) -> Self {
        unit.clone_into(&mut self.unit);
        self.measured = Summary::of(figures);
        self
    }

    /// Its goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// Whether the goal was met: judged by the median, and said to be `near` when the goal lies within the spread.
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

/// The rows as text, with the last results' medians beside them where they have the row too.
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
    fn the_median_decides_and_the_spread_is_named() {
        assert_eq!(verdict(Goal::AtMost(2.0), &[1.0, 1.1, 1.2]), "met");
        assert_eq!(verdict(Goal::AtMost(2.0), &[1.0, 1.9, 2.9]), "met (near)");
        assert_eq!(verdict(Goal::AtMost(2.0), &[1.0, 2.1, 2.2]), "missed (near)");
        assert_eq!(verdict(Goal::AtLeast(2.0), &[1.0, 1.1, 1.2]), "missed");
    }
}
