//! State of the live view: counts by call site and outcome, the last moves, the user's choices.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use mremap_trace::Outcome;

use crate::named::Named;

/// Call sites kept; calls from further ones count in the totals only.
const MOST_SITES: usize = 4096;
/// Moves kept.
const MOVES: usize = 16;
/// Intervals whose rates are kept.
pub const RATES: usize = 240;

/// Order of call sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Calls in the last interval.
    #[default]
    Rate,
    /// All calls.
    Calls,
    /// Time.
    Time,
    /// Failures.
    Failed,
}

impl Order {
    /// The order that the `s` key selects next.
    pub fn next(self) -> Self {
        match self {
            Self::Rate => Self::Calls,
            Self::Calls => Self::Time,
            Self::Time => Self::Failed,
            Self::Failed => Self::Rate,
        }
    }

    /// Its name in the table's title.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Calls => "calls",
            Self::Time => "time",
            Self::Failed => "failed",
        }
    }
}

/// One call site.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Calls.
    pub calls: u64,
    /// Calls in the interval being filled.
    pub new: u64,
    /// Calls in the last whole interval.
    pub rate: u64,
    /// Nanoseconds.
    pub time: u64,
    /// Failures.
    pub failed: u64,
}

/// Everything the view draws.
#[derive(Default)]
pub struct State {
    rows: HashMap<String, Row>,
    /// Calls by outcome, and failures.
    pub outcomes: [(u64, u64); 6],
    /// Calls of the last intervals, the latest last.
    pub rates: VecDeque<u64>,
    new: u64,
    /// The last moves with recorded VMAs, newest first.
    pub moves: VecDeque<Named>,
    /// Whether reading is paused.
    pub paused: bool,
    /// Order of call sites.
    pub order: Order,
    /// Shows only call sites whose name contains this.
    pub filter: String,
    /// Whether keys edit the filter.
    pub typing: bool,
    /// The number of processes, and how many of them are running.
    pub processes: (usize, usize),
    /// Length of an interval.
    pub interval: Duration,
}

impl State {
    /// An empty state.
    pub fn new(interval: Duration) -> Self {
        Self { interval, ..Self::default() }
    }

    /// Adds an event.
    pub fn take(&mut self, named: Named) {
        let call = &named.event.call;
        let failed = u64::from(call.errno().is_some());
        if let Some(outcome) = self.outcomes.get_mut(call.outcome as usize - 1) {
            outcome.0 += 1;
            outcome.1 += failed;
        }
        self.new += 1;
        let name = &named.site.name;
        if self.rows.len() < MOST_SITES || self.rows.contains_key(name) {
            let row = self
                .rows
                .entry(name.clone())
                .or_insert_with(|| Row { name: name.clone(), ..Row::default() });
            row.calls += 1;
            row.new += 1;
            row.time = row.time.saturating_add(named.duration);
            row.failed += failed;
        }
        if !named.event.parts.is_empty() || call.outcome == Outcome::Emulated {
            self.moves.push_front(named);
            self.moves.truncate(MOVES);
        }
    }

    /// Ends an interval.
    pub fn tick(&mut self) {
        if self.rates.len() == RATES {
            self.rates.pop_front();
        }
        self.rates.push_back(std::mem::take(&mut self.new));
        for row in self.rows.values_mut() {
            row.rate = std::mem::take(&mut row.new);
        }
    }

    /// Converts calls in one interval to calls a second.
    pub fn per_second(&self, calls: u64) -> f64 {
        calls as f64 / self.interval.as_secs_f64().max(0.001)
    }

    /// Call sites that match the filter, in the chosen order.
    pub fn sites(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> =
            self.rows.values().filter(|row| row.name.contains(&self.filter)).collect();
        let key = |row: &Row| match self.order {
            Order::Rate => row.rate,
            Order::Calls => row.calls,
            Order::Time => row.time,
            Order::Failed => row.failed,
        };
        rows.sort_by(|a, b| (key(b), b.calls, &a.name).cmp(&(key(a), a.calls, &b.name)));
        rows
    }

    /// Outcomes with calls, by name.
    pub fn named_outcomes(&self) -> Vec<(&'static str, u64, u64)> {
        let named = Outcome::NAMES.iter().zip(self.outcomes);
        named
            .filter(|(_, (calls, _))| *calls > 0)
            .map(|(name, (calls, failed))| (*name, calls, failed))
            .collect()
    }
}
