//! Growth chains: the same mapping grown again and again, followed from address to address.
//!
//! A chain that is open is found by the address its mapping has now, in a table of fixed size: two chains
//! that fall on the same place push one another out, and the one pushed out is kept if it is long. So the
//! longest chains of the longest recording are found in a few hundred kilobytes, and short ones may be
//! missed.

use super::chain::Chain;
use super::open_chains::OpenChains;
use super::times::Times;
use crate::load::Calls;

/// Closed chains kept.
const KEPT: usize = 128;
/// A mapping grown less often is no chain.
const SHORTEST: u64 = 3;

/// Chains of one process.
#[derive(Clone, Debug)]
pub struct Chains {
    /// None any more once no further call is taken.
    open: Option<OpenChains>,
    kept: Kept,
}

impl Default for Chains {
    fn default() -> Self {
        Self { open: OpenChains::new(), kept: Kept { chains: Vec::new(), bar: SHORTEST } }
    }
}

impl Chains {
    /// Takes calls of a thread that did not fail. Moments stay in ticks until [`Chains::date`].
    #[inline(never)] // A loop by itself has the processor's registers for itself.
    pub fn take(&mut self, calls: &Calls<'_>, times: &Times, tid: u32) {
        let (Some(open), kept) = (&mut self.open, &mut self.kept) else {
            return;
        };
        calls.for_each(|slot, call| {
            open.take(call, times.of(slot).ns, tid, |former| kept.keep(former));
        });
    }

    /// Turns the moments of all chains from ticks into nanoseconds.
    pub fn date(&mut self, since_start: impl Fn(u64) -> u64) {
        if let Some(open) = &mut self.open {
            open.date(&since_start);
        }
        for chain in &mut self.kept.chains {
            (chain.begin, chain.end) = (since_start(chain.begin), since_start(chain.end));
        }
    }

    /// Takes the chains of a later piece of the same trace; one that goes on is joined.
    pub fn merge(&mut self, later: &Self) {
        let Some(open) = &mut self.open else { return };
        for chain in later.open.iter().flat_map(OpenChains::iter) {
            let joined = open.join(&chain);
            open.put(&joined, |former| self.kept.keep(former));
        }
        for chain in &later.kept.chains {
            self.kept.keep(open.join(chain));
        }
    }

    /// Lets go of everything but the longest chains: no further call is taken.
    pub fn seal(&mut self) {
        self.kept.chains = self.longest();
        self.kept.chains.truncate(KEPT);
        self.open = None;
    }

    /// Every chain long enough, the ones that doubling would have helped most first.
    pub fn longest(&self) -> Vec<Chain> {
        let open = self.open.iter().flat_map(OpenChains::iter);
        let all = open.chain(self.kept.chains.iter().copied());
        let mut chains: Vec<Chain> = all.filter(|chain| chain.growths >= SHORTEST).collect();
        chains.sort_by_key(|chain| std::cmp::Reverse((chain.calls_saved(), chain.growths)));
        chains
    }
}

/// Closed chains, the longest ones.
#[derive(Clone, Debug)]
struct Kept {
    chains: Vec<Chain>,
    /// Growths below which a chain is not kept.
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
            self.bar = self.chains.last().map_or(SHORTEST, |least| least.growths);
        }
    }
}
