//! Growth chains: the same mapping grown again and again, followed from address to address.
//!
//! A chain that is open is found by the address its mapping has now, in a table of fixed size: two chains
//! that fall on the same place push one another out, and the one pushed out is kept if it is long. So the
//! longest chains of the longest recording are found in a few hundred kilobytes, and short ones may be
//! missed.

use super::columns::{Columns, Row};
use super::sites::caller_of;

/// Open chains followed at once, a power of two.
const OPEN: usize = 4096;
/// Closed chains kept.
const KEPT: usize = 128;
/// A mapping grown less often is no chain.
const SHORTEST: u64 = 3;

/// A mapping's life as far as `mremap` shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    /// Where it lay before the first call.
    pub first: u64,
    /// Where it lies.
    pub last: u64,
    /// Its length before the first call.
    pub first_len: u64,
    /// Its length.
    pub last_len: u64,
    /// The longest it was.
    pub most_len: u64,
    /// Calls that made it grow.
    pub growths: u64,
    /// Calls after which it lay elsewhere.
    pub moves: u64,
    /// Nanoseconds in its calls.
    pub time: u64,
    /// Nanoseconds from the trace's start to its first call.
    pub begin: u64,
    /// And to its last one.
    pub end: u64,
    /// Return address of its last growth.
    pub caller: u64,
    /// Thread of its last growth.
    pub tid: u32,
}

impl Chain {
    /// Growths that doubling would have needed.
    pub fn growths_by_doubling(&self) -> u64 {
        let mut len = self.first_len.max(1);
        let mut growths = 0;
        while len < self.most_len {
            len = len.saturating_mul(2);
            growths += 1;
        }
        growths
    }

    /// Calls that doubling would have saved.
    pub fn calls_saved(&self) -> u64 {
        self.growths.saturating_sub(self.growths_by_doubling())
    }

    /// Nanoseconds that doubling would have saved, a call at its average.
    pub fn time_saved(&self) -> u64 {
        let saved = u128::from(self.time) * u128::from(self.calls_saved());
        u64::try_from(saved / u128::from(self.growths.max(1))).unwrap_or(u64::MAX)
    }

    fn joined_by(&self, later: &Self) -> Self {
        Self {
            last: later.last,
            last_len: later.last_len,
            most_len: self.most_len.max(later.most_len),
            growths: self.growths + later.growths,
            moves: self.moves + later.moves,
            time: self.time.saturating_add(later.time),
            end: later.end,
            caller: later.caller,
            tid: later.tid,
            ..*self
        }
    }
}

/// Chains of one process.
#[derive(Clone, Debug)]
pub struct Chains {
    open: Box<[Chain]>,
    kept: Vec<Chain>,
    /// Saved calls below which a closed chain is not kept.
    bar: u64,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            open: vec![Chain::default(); OPEN].into_boxed_slice(),
            kept: Vec::new(),
            bar: SHORTEST,
        }
    }
}

#[inline]
fn place_of(address: u64) -> usize {
    ((address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % OPEN
}

impl Chains {
    /// Takes calls of one thread. Moments stay in ticks until [`Chains::date`].
    pub fn add(&mut self, calls: &Columns, tid: u32) {
        for row in calls.rows().filter(|row| !row.failed) {
            self.add_one(&row, tid);
        }
    }

    #[inline]
    fn add_one(&mut self, row: &Row, tid: u32) {
        let Some(slot) = self.open.get_mut(place_of(row.from.0)) else {
            return;
        };
        if (slot.last, slot.last_len) != row.from || slot.growths == 0 {
            if row.to.1 > row.from.1 && row.from.1 > 0 {
                self.start(row, tid);
            }
        } else if row.to.0 == row.from.0 {
            slot.take(row, tid);
        } else {
            let mut chain = std::mem::take(slot);
            chain.take(row, tid);
            self.put(&chain);
        }
    }

    /// Begins a chain, in the place where it lies from now on.
    #[inline]
    fn start(&mut self, row: &Row, tid: u32) {
        let Some(slot) = self.open.get_mut(place_of(row.to.0)) else {
            return;
        };
        let former = (slot.growths >= SHORTEST).then_some(*slot);
        slot.first = row.from.0;
        slot.first_len = row.from.1;
        slot.last = row.to.0;
        slot.last_len = row.to.1;
        slot.most_len = row.to.1;
        slot.growths = 1;
        slot.moves = u64::from(row.to.0 != row.from.0);
        slot.time = row.duration;
        (slot.begin, slot.end) = (row.ticks, row.ticks);
        slot.caller = caller_of(row.key);
        slot.tid = tid;
        if let Some(former) = former {
            self.keep(former);
        }
    }

    #[inline]
    fn put(&mut self, chain: &Chain) {
        if let Some(slot) = self.open.get_mut(place_of(chain.last)) {
            let former = std::mem::replace(slot, *chain);
            if former.growths >= SHORTEST {
                self.keep(former);
            }
        }
    }

    /// Turns the moments of all chains from ticks into nanoseconds.
    pub fn date(&mut self, since_start: impl Fn(u64) -> u64) {
        for chain in self.open.iter_mut().chain(&mut self.kept) {
            (chain.begin, chain.end) = (since_start(chain.begin), since_start(chain.end));
        }
    }

    #[cold]
    fn keep(&mut self, chain: Chain) {
        if chain.growths < self.bar {
            return;
        }
        self.kept.push(chain);
        if self.kept.len() >= 2 * KEPT {
            self.kept.sort_by_key(|chain| std::cmp::Reverse(chain.growths));
            self.kept.truncate(KEPT);
            self.bar = self.kept.last().map_or(SHORTEST, |least| least.growths);
        }
    }

    /// Takes the chains of a later piece of the same trace; one that goes on is joined.
    pub fn merge(&mut self, later: &Self) {
        let open = later.open.iter().filter(|chain| chain.growths > 0);
        for chain in open {
            let joined = self.join(chain);
            self.put(&joined);
        }
        for chain in &later.kept {
            let joined = self.join(chain);
            self.keep(joined);
        }
    }

    fn join(&mut self, later: &Chain) -> Chain {
        match self.open.get_mut(place_of(later.first)) {
            Some(slot)
                if slot.growths > 0
                    && (slot.last, slot.last_len) == (later.first, later.first_len)
                    && slot.end <= later.begin =>
            {
                std::mem::take(slot).joined_by(later)
            }
            _ => *later,
        }
    }

    /// Lets go of everything but the longest chains: no further call is taken.
    pub fn seal(&mut self) {
        self.kept = self.longest();
        self.kept.truncate(KEPT);
        self.open = Box::default();
    }

    /// Every chain long enough, the ones that doubling would have helped most first.
    pub fn longest(&self) -> Vec<Chain> {
        let all = self.open.iter().chain(&self.kept);
        let mut chains: Vec<Chain> = all.filter(|chain| chain.growths >= SHORTEST).copied().collect();
        chains.sort_by_key(|chain| std::cmp::Reverse((chain.calls_saved(), chain.growths)));
        chains
    }
}

impl Chain {
    #[inline]
    fn take(&mut self, row: &Row, tid: u32) {
        (self.last, self.last_len) = row.to;
        self.most_len = self.most_len.max(row.to.1);
        self.moves += u64::from(row.to.0 != row.from.0);
        self.time = self.time.saturating_add(row.duration);
        self.end = row.ticks;
        if row.to.1 > row.from.1 {
            self.growths += 1;
            (self.caller, self.tid) = (caller_of(row.key), tid);
        }
    }
}
