//! Open growth chains, in a hash table of fixed size by their mapping's current address.
//!
//! Any growth may start a chain, and most chains end with their first call. A chain of one call is
//! therefore one cache line, stored without a branch; what only longer chains need is kept
//! separately.

use mremap_trace::StoredCall;

use super::chain::Chain;
use super::key::Key;

/// Size of the table, a power of two.
const ENTRIES: usize = 4096;
/// Index of a spare entry for stores that must have no effect.
const DISCARD: usize = ENTRIES;

/// The fields of every chain: its current mapping, and its start.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Latest {
    last: u64,
    last_len: u64,
    first: u64,
    /// 0: the entry is empty.
    first_len: u64,
    begin: u64,
    time: u64,
    /// Caller and outcome of its last growth.
    key: Key,
    /// Thread of its last growth, and [`SEVERAL`].
    thread: u64,
}

/// Flag in `Latest::thread`: the chain has several calls and a [`History`].
const SEVERAL: u64 = 1 << 32;

impl Latest {
    #[inline]
    fn has_several(&self) -> bool {
        self.thread & SEVERAL != 0
    }
}

/// The further fields of chains with several calls.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    max_len: u64,
    growths: u64,
    records: u64,
    moves: u64,
    end: u64,
}

impl History {
    fn of_one_call(call: &Latest) -> Self {
        Self {
            max_len: call.last_len,
            growths: 1,
            records: 1,
            moves: u64::from(call.last != call.first),
            end: call.begin,
        }
    }
}

/// The table. Of two chains with the same index, the later one evicts the other.
#[derive(Clone, Debug)]
pub struct OpenChains {
    latest: Box<[Latest; ENTRIES + 1]>,
    histories: Box<[History; ENTRIES]>,
}

/// Index of the chain whose mapping is at `address`.
#[inline]
fn index_of(address: u64) -> usize {
    ((address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % ENTRIES
}

/// Allocates an array without building it on the stack.
fn zeros<T: Clone + Default, const N: usize>() -> Option<Box<[T; N]>> {
    vec![T::default(); N].into_boxed_slice().try_into().ok()
}

impl OpenChains {
    /// An empty table.
    pub fn new() -> Option<Self> {
        Some(Self { latest: zeros()?, histories: zeros()? })
    }

    /// Adds a successful call: it continues its mapping's chain, or starts one if the mapping grew.
    /// `evict` receives a chain of several calls that is evicted.
    #[inline]
    pub fn take(&mut self, call: StoredCall<'_>, ns: u64, tid: u32, evict: impl FnMut(Chain)) {
        let index = index_of(call.old());
        let latest = &self.latest[index];
        // Comparing arrays needs one branch; comparing field by field would need two.
        if [latest.last, latest.last_len] == [call.old(), call.old_len()] {
            self.continue_chain(index, call, ns, tid, evict);
        } else {
            self.start_chain(call, ns, tid, evict);
        }
    }

    #[inline]
    fn start_chain(&mut self, call: StoredCall<'_>, ns: u64, tid: u32, evict: impl FnMut(Chain)) {
        // 0 < old < new, in one comparison.
        let begins = call.old_len().wrapping_sub(1) < call.new_len().saturating_sub(1);
        // A branch would be mispredicted often: up to half of an allocator's calls are growths.
        let index = std::hint::select_unpredictable(begins, index_of(call.result()), DISCARD);
        if self.latest[index].has_several() {
            self.chain(index).into_iter().for_each(evict);
        }
        self.latest[index] = Latest {
            last: call.result(),
            last_len: call.new_len(),
            first: call.old(),
            first_len: call.old_len(),
            begin: call.ticks(),
            time: ns,
            key: Key::of(call),
            thread: tid.into(),
        };
    }

    /// Continues the chain at `index`. An empty entry matches a call with zeros, so it is checked.
    #[inline]
    fn continue_chain(
        &mut self,
        index: usize,
        call: StoredCall<'_>,
        ns: u64,
        tid: u32,
        evict: impl FnMut(Chain),
    ) {
        let (latest, history) = (&mut self.latest[index], &mut self.histories[index]);
        if latest.first_len == 0 {
            return;
        }
        if !latest.has_several() {
            *history = History::of_one_call(latest);
            latest.thread |= SEVERAL;
        }
        (latest.last, latest.last_len) = (call.result(), call.new_len());
        latest.time = latest.time.saturating_add(ns);
        history.records += u64::from(call.new_len() > history.max_len);
        history.max_len = history.max_len.max(call.new_len());
        history.end = call.ticks();
        if call.new_len() > call.old_len() {
            history.growths += 1;
            (latest.key, latest.thread) = (Key::of(call), SEVERAL | u64::from(tid));
        }
        if call.result() != call.old() {
            history.moves += 1;
            self.reinsert(index, evict);
        }
    }

    /// Moves a chain of several calls to the index of its mapping's new address.
    #[inline(never)]
    fn reinsert(&mut self, index: usize, evict: impl FnMut(Chain)) {
        let (latest, history) = (self.latest[index], self.histories[index]);
        self.remove(index);
        let index = index_of(latest.last);
        if self.latest[index].has_several() {
            self.chain(index).into_iter().for_each(evict);
        }
        (self.latest[index], self.histories[index]) = (latest, history);
    }

    /// The chain at `index`.
    fn chain(&self, index: usize) -> Option<Chain> {
        let latest = self.latest.get(index).filter(|latest| latest.first_len > 0)?;
        let history = if latest.has_several() {
            *self.histories.get(index)?
        } else {
            History::of_one_call(latest)
        };
        Some(Chain {
            first: latest.first,
            last: latest.last,
            first_len: latest.first_len,
            last_len: latest.last_len,
            max_len: history.max_len,
            growths: history.growths,
            records: history.records,
            moves: history.moves,
            time: latest.time,
            begin: latest.begin,
            end: history.end,
            caller: latest.key.caller(),
            tid: latest.thread as u32,
        })
    }

    fn remove(&mut self, index: usize) {
        self.latest[index] = Latest::default();
    }

    /// Inserts a chain. `evict` receives the one it replaces.
    pub fn insert(&mut self, chain: &Chain, evict: impl FnMut(Chain)) {
        let index = index_of(chain.last);
        self.chain(index).into_iter().for_each(evict);
        self.latest[index] = Latest {
            last: chain.last,
            last_len: chain.last_len,
            first: chain.first,
            first_len: chain.first_len,
            begin: chain.begin,
            time: chain.time,
            key: Key::of_caller(chain.caller),
            thread: SEVERAL | u64::from(chain.tid),
        };
        self.histories[index] = History {
            max_len: chain.max_len,
            growths: chain.growths,
            records: chain.records,
            moves: chain.moves,
            end: chain.end,
        };
    }

    /// Joins `later` to the open chain it continues, if any, and removes that from the table.
    pub fn join(&mut self, later: &Chain) -> Chain {
        let index = index_of(later.first);
        match self.chain(index) {
            Some(earlier)
                if (earlier.last, earlier.last_len) == (later.first, later.first_len)
                    && earlier.end <= later.begin =>
            {
                self.remove(index);
                earlier.joined_by(later)
            }
            _ => *later,
        }
    }

    /// Every open chain.
    pub fn iter(&self) -> impl Iterator<Item = Chain> {
        (0..ENTRIES).filter_map(|index| self.chain(index))
    }

    /// Converts the times of all chains from ticks to nanoseconds since the trace's start.
    pub fn convert_ticks(&mut self, since_start: impl Fn(u64) -> u64) {
        for latest in self.latest.iter_mut() {
            latest.begin = since_start(latest.begin);
        }
        for history in self.histories.iter_mut() {
            history.end = since_start(history.end);
        }
    }
}
