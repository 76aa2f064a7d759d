//! State of the live view: totals by process and call site, the last moves, the user's choices.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use mremap_trace::Outcome;

use crate::named::Named;
use crate::stats::Histogram;

/// Call sites kept; calls from further ones count in the totals only.
const MAX_SITES: usize = 4096;
/// Moves kept.
const MOVES: usize = 16;
/// Intervals whose rates are kept.
const RATES: usize = 240;

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

/// Totals of one call site.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Durations, nanoseconds.
    pub times: Histogram,
    /// Calls in the interval being filled.
    new: u64,
    /// Calls in the last whole interval.
    pub rate: u64,
    /// Failures.
    pub failed: u64,
}

/// Totals of a process, or of all.
#[derive(Default)]
pub struct Totals {
    rows: HashMap<String, Row>,
    /// Calls by outcome, and failures.
    pub outcomes: [(u64, u64); 6],
}

impl Totals {
    fn add(&mut self, named: &Named) {
        let call = &named.event.call;
        let failed = u64::from(call.errno().is_some());
        if let Some(outcome) = self.outcomes.get_mut(call.outcome as usize - 1) {
            outcome.0 += 1;
            outcome.1 += failed;
        }
        let name = &named.site.name;
        if self.rows.len() < MAX_SITES || self.rows.contains_key(name) {
            let row = self
                .rows
                .entry(name.clone())
                .or_insert_with(|| Row { name: name.clone(), ..Row::default() });
            row.times.add(named.duration);
            row.new += 1;
            row.failed += failed;
        }
    }

    fn tick(&mut self) {
        for row in self.rows.values_mut() {
            row.rate = std::mem::take(&mut row.new);
        }
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

/// Everything the view draws.
#[derive(Default)]
pub struct State {
    all: Totals,
    /// Processes with calls by their index, with a name for the view.
    by_process: BTreeMap<usize, (String, Totals)>,
    /// Calls of the last intervals, the latest last: of the selected process and call site.
    pub rates: VecDeque<u64>,
    new: u64,
    /// The last moves with recorded VMAs, newest first.
    moves: VecDeque<Named>,
    /// Whether reading is paused.
    pub paused: bool,
    /// Whether the help is shown.
    pub help: bool,
    /// Order of call sites.
    pub order: Order,
    /// Shows only call sites whose name contains this.
    pub filter: String,
    /// Whether keys edit the filter.
    pub typing: bool,
    /// The only process that is shown, by its index.
    process: Option<usize>,
    /// The only call site in the chart of rates and among the moves.
    pub site: Option<String>,
    /// Index of the row that the arrows have reached.
    pub cursor: usize,
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
        self.all.add(&named);
        let of = named.origin.id;
        let (_, totals) = self.by_process.entry(of).or_insert_with(|| {
            let program = named.origin.exe.rsplit('/').next().unwrap_or_default();
            (format!("{program} (pid {})", named.origin.pid), Totals::default())
        });
        totals.add(&named);
        self.new += u64::from(self.selects(&named));
        if !named.event.parts.is_empty() || named.event.call.outcome == Outcome::Emulated {
            self.moves.push_front(named);
            self.moves.truncate(MOVES);
        }
    }

    /// Whether an event is of the selected process and call site.
    fn selects(&self, named: &Named) -> bool {
        self.process.is_none_or(|process| process == named.origin.id)
            && self.site.as_ref().is_none_or(|site| *site == named.site.name)
    }

    /// Leaves out of the rates what was recorded before the view was opened.
    pub fn forget_backlog(&mut self) {
        self.new = 0;
        self.tick();
        self.rates.clear();
        self.tick_rows();
    }

    /// Ends an interval.
    pub fn tick(&mut self) {
        if self.rates.len() == RATES {
            self.rates.pop_front();
        }
        self.rates.push_back(std::mem::take(&mut self.new));
        self.tick_rows();
    }

    fn tick_rows(&mut self) {
        self.all.tick();
        self.by_process.values_mut().for_each(|(_, totals)| totals.tick());
    }

    /// Selects the next process (1) or the former one (-1); all come between last and first.
    pub fn select_process(&mut self, step: isize) {
        let choices: Vec<Option<usize>> =
            std::iter::once(None).chain(self.by_process.keys().copied().map(Some)).collect();
        let at = choices.iter().position(|choice| *choice == self.process).unwrap_or(0);
        let next = (at as isize + step).rem_euclid(choices.len() as isize) as usize;
        self.process = choices.get(next).copied().flatten();
        (self.cursor, self.site) = (0, None);
        self.rates.clear();
    }

    /// Selects the call site under the cursor; selects all again if it was selected.
    pub fn select_site(&mut self) {
        let name = self.sites().get(self.cursor).map(|row| row.name.clone());
        self.site = if self.site == name { None } else { name };
        self.rates.clear();
    }

    /// Moves the cursor, within the table.
    pub fn move_cursor(&mut self, step: isize) {
        let last = self.sites().len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(step).min(last);
    }

    /// Name of the selected process.
    pub fn process_name(&self) -> Option<&str> {
        let (name, _) = self.by_process.get(&self.process?)?;
        Some(name)
    }

    /// Totals of the selected process, or of all.
    pub fn totals(&self) -> &Totals {
        let selected = self.process.and_then(|process| self.by_process.get(&process));
        selected.map_or(&self.all, |(_, totals)| totals)
    }

    /// Converts calls in one interval to calls a second.
    pub fn per_second(&self, calls: u64) -> f64 {
        calls as f64 / self.interval.as_secs_f64().max(0.001)
    }

    /// Call sites that match the filter, in the chosen order.
    pub fn sites(&self) -> Vec<&Row> {
        let rows = self.totals().rows.values();
        let mut rows: Vec<&Row> = rows.filter(|row| row.name.contains(&self.filter)).collect();
        let key = |row: &Row| match self.order {
            Order::Rate => row.rate,
            Order::Calls => row.times.count(),
            Order::Time => row.times.sum(),
            Order::Failed => row.failed,
        };
        rows.sort_by(|a, b| {
            (key(b), b.times.count(), &a.name).cmp(&(key(a), a.times.count(), &b.name))
        });
        rows
    }

    /// The last moves of the selected process and call site, newest first.
    pub fn moves(&self) -> impl Iterator<Item = &Named> {
        self.moves.iter().filter(|named| self.selects(named))
    }
}
