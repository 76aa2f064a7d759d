//! Filters of calls, shared by all commands.

use std::collections::{HashMap, HashSet};

use clap::Args;
use mremap_trace::layout::SLOTS_PER_CHUNK;
use mremap_trace::{Call, Outcome};

use super::names;
use super::units::{parse_addresses, parse_size, parse_time};
use crate::load::{Candidate, CodeAddress, Process};

/// Slots of a chunk.
const SLOTS: u64 = SLOTS_PER_CHUNK as u64;

/// Selects calls. All given filters must match.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which calls")]
pub struct Filter {
    /// Only calls with this outcome, or these, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = Outcome::NAMES)]
    pub outcome: Vec<String>,
    /// Only failed calls with this errno (a name such as EFAULT, or a number).
    #[arg(long, value_parser = errno)]
    pub errno: Option<u32>,
    /// Only failed calls.
    #[arg(long)]
    pub failed: bool,
    /// Only this process.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Only this thread.
    #[arg(long)]
    pub tid: Option<u32>,
    /// Only call sites whose name (function, `file:line` or `module+offset`) contains this.
    #[arg(long, value_name = "TEXT")]
    pub site: Option<String>,
    /// Only calls from this time on, counted from the start of the first trace (1.5s, 200ms).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<u64>,
    /// Only calls before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<u64>,
    /// Only calls that took at least this long (30us).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub min_time: Option<u64>,
    /// Only calls of at least this many bytes (K, M, G).
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub min_len: Option<u64>,
    /// Only calls of at most this many bytes.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub max_len: Option<u64>,
    /// Only calls whose source or destination overlaps this address (0x...) or range
    /// (0x...0..0x...f).
    #[arg(long, value_name = "ADDRESS", value_parser = parse_addresses)]
    pub addr: Option<(u64, u64)>,
    /// Wall clock from which `since` and `until` count.
    #[arg(skip)]
    pub start: u64,
    /// Calls whose site matches `site`; set once they can be named.
    #[arg(skip)]
    pub sites: Option<PickedSites>,
}

/// Calls that were picked by the names of their sites.
#[derive(Clone, Debug, Default)]
pub struct PickedSites {
    /// By the index of their process and their return address.
    pub callers: HashSet<(usize, CodeAddress)>,
    /// By the index of their process: those of processes whose sites follow from stacks.
    pub calls: HashMap<usize, SlotSet>,
}

impl PickedSites {
    /// Whether a call was picked.
    fn contains(&self, process: &Process, process_index: usize, slot: u64, call: &Call) -> bool {
        match self.calls.get(&process_index) {
            Some(slots) => slots.contains(slot),
            None => {
                self.callers.contains(&(process_index, process.code_at(call.caller, call.ticks)))
            }
        }
    }
}

/// A set of slots of one trace.
#[derive(Clone, Debug, Default)]
pub struct SlotSet {
    /// By chunk: bit n is set for slot n.
    chunks: HashMap<u64, u64>,
}

impl SlotSet {
    /// Adds a slot by its file-wide number.
    pub fn insert(&mut self, slot: u64) {
        *self.chunks.entry(slot / SLOTS).or_default() |= 1 << (slot % SLOTS);
    }

    fn contains(&self, slot: u64) -> bool {
        self.chunks.get(&(slot / SLOTS)).is_some_and(|mask| mask >> (slot % SLOTS) & 1 == 1)
    }
}

fn errno(text: &str) -> Result<u32, String> {
    names::errno_number(text).ok_or_else(|| "write a name such as EFAULT, or a number".to_owned())
}

impl Filter {
    /// Whether any filter is given.
    pub fn is_set(&self) -> bool {
        !self.outcome.is_empty()
            || self.failed
            || self.site.is_some()
            || [self.errno, self.pid, self.tid].iter().any(Option::is_some)
            || [self.since, self.until, self.min_time, self.min_len, self.max_len]
                .iter()
                .any(Option::is_some)
            || self.addr.is_some()
    }

    /// Whether a call of [`in_order`](crate::load::in_order) matches.
    pub fn selects(&self, it: &Candidate<'_>) -> bool {
        self.passes(it.process, it.process_index, (it.tid, it.slot), it.call)
    }

    /// Whether a call matches; `slot` is its file-wide number.
    pub fn passes(
        &self,
        process: &Process,
        process_index: usize,
        (tid, slot): (u32, u64),
        call: &Call,
    ) -> bool {
        let len = call.old_len.max(call.new_len);
        let meets = |wanted: Option<u32>, value: u32| wanted.is_none_or(|wanted| wanted == value);
        (self.outcome.is_empty() || self.outcome.iter().any(|name| name == call.outcome.name()))
            && meets(self.pid, process.header.pid)
            && meets(self.tid, tid)
            && (!self.failed || call.errno().is_some())
            && self.errno.is_none_or(|errno| call.errno() == Some(errno))
            && self.min_len.is_none_or(|min| len >= min)
            && self.max_len.is_none_or(|max| len <= max)
            && self.min_time.is_none_or(|min| process.nanoseconds(call.duration) >= min)
            && self.passes_time(process, call)
            && self.addr.is_none_or(|range| meets_range(call, range))
            && self
                .sites
                .as_ref()
                .is_none_or(|sites| sites.contains(process, process_index, slot, call))
    }

    fn passes_time(&self, process: &Process, call: &Call) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let moment = process.wall_clock(call.ticks).saturating_sub(self.start);
        self.since.is_none_or(|since| moment >= since)
            && self.until.is_none_or(|until| moment < until)
    }
}

/// Whether source, destination or result overlaps a range.
fn meets_range(call: &Call, (first, end): (u64, u64)) -> bool {
    let meets = |start: u64, len: u64| start < end && start.saturating_add(len.max(1)) > first;
    meets(call.old, call.old_len)
        || (call.flags & 2 != 0 && meets(call.new, call.new_len))
        || (call.errno().is_none() && meets(call.result as u64, call.new_len))
}
