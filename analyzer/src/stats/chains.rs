//! Growth chains: mappings that grew several times, followed from address to address.
//!
//! Open chains are found by their mapping's current address in a hash table of fixed size. A
//! collision evicts the older chain, which is kept if it is long. A few hundred kilobytes thus
//! suffice for the longest chains of a trace of any length; short chains may be missed.

use super::chain::Chain;
use super::open_chains::OpenChains;
use super::times::Times;
use crate::load::Calls;

/// Evicted chains kept.
const KEPT: usize = 128;
/// Least number of growths of a chain.
const SHORTEST: u64 = 3;

/// Chains of one process.
#[derive(Clone, Debug)]
pub struct Chains {
    /// `None` once sealed.
    open: Option<OpenChains>,
    kept: Kept,
}

impl Default for Chains {
    fn default() -> Self {
        Self { open: OpenChains::new(), kept: Kept { chains: Vec::new(), bar: SHORTEST } }
    }
}

impl Chains {
    /// Adds successful calls of one thread. Times stay in ticks until [`Chains::convert_ticks`].
    #[inline(never)] // Inlined, the loop spills registers.
    pub fn take(&mut self, calls: &Calls<'_>, times: &Times, tid: u32) {
        let (Some(open), kept) = (&mut self.open, &mut self.kept) else {
            return;
        };
        calls.for_each(|slot, call| {
            open.take(call, times.of(slot).ns, tid, |evicted| kept.keep(evicted));
        });
    }

    /// Converts the times of all chains from ticks to nanoseconds since the trace's start.
    pub fn convert_ticks(&mut self, since_start: impl Fn(u64) -> u64) {
        if let Some(open) = &mut self.open {
            open.convert_ticks(&since_start);
        }
        for chain in &mut self.kept.chains {
            (chain.begin, chain.end) = (since_start(chain.begin), since_start(chain.end));
        }
    }

    /// Adds the chains of a later part of the same trace, joining those that continue.
    pub fn merge(&mut self, later: &Self) {
        let Some(open) = &mut self.open else { return };
        for chain in later.open.iter().flat_map(OpenChains::iter) {
            let joined = open.join(&chain);
            open.insert(&joined, |evicted| self.kept.keep(evicted));
        }
        for chain in &later.kept.chains {
            self.kept.keep(open.join(chain));
        }
    }

    /// Frees everything but the longest chains. No call can be added afterwards.
    pub fn seal(&mut self) {
        self.kept.chains = self.longest();
        self.kept.chains.truncate(KEPT);
        self.open = None;
    }

    /// Every chain that is long enough, by calls that doubling saves.
    pub fn longest(&self) -> Vec<Chain> {
        let open = self.open.iter().flat_map(OpenChains::iter);
        let all = open.chain(self.kept.chains.iter().copied());
        let mut chains: Vec<Chain> = all.filter(|chain| chain.growths >= SHORTEST).collect();
        chains.sort_by_key(|chain| std::cmp::Reverse((chain.calls_saved(), chain.growths)));
        chains
    }
}

/// The longest evicted chains.
#[derive(Clone, Debug)]
struct Kept {
    chains: Vec<Chain>,
    /// Least number of growths to be kept.
    bar: u64,
}

impl Kept {
    #[cold]
    fn keep(&mut self, chain: Chain) {
        if chain.growths < self.bar {
            return;
        }
        self.chains.push(chain);
        if self.chains.len() >= 2 * KEPT {
            self.chains.sort_by_key(|chain| std::cmp::Reverse(chain.growths));
            self.chains.truncate(KEPT);
            self.bar = self.chains.last().map_or(SHORTEST, |last| last.growths);
        }
    }
}
