//! The growth chains that are open, by the address where each mapping lies now: a table of fixed size.
//!
//! Any call that makes a mapping grow may begin a chain, and most chains end with that call. So what there is to a
//! chain of one call is one cache line, stored without a branch; what only longer ones have stands apart.

use mremap_trace::StoredCall;

use super::chain::Chain;
use super::key::Key;

/// Chains followed at once, a power of two.
const PLACES: usize = 4096;
/// Stands behind the places, and takes what is to be stored nowhere.
const NOWHERE: usize = PLACES;

/// Of every chain: what its next call is recognised by, and its beginning.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Latest {
    last: u64,
    last_len: u64,
    first: u64,
    /// 0: there is no chain.
    first_len: u64,
    begin: u64,
    time: u64,
    /// Where its last growth came from.
    key: Key,
    /// Thread of its last growth, and [`SEVERAL`].
    thread: u64,
}

/// The chain has several calls, and a [`History`].
const SEVERAL: u64 = 1 << 32;

impl Latest {
    #[inline]
    fn has_several(&self) -> bool {
        self.thread & SEVERAL != 0
    }
}

/// Of chains of several calls.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    most_len: u64,
    growths: u64,
    moves: u64,
    end: u64,
}

impl History {
    fn of_one_call(call: &Latest) -> Self {
        Self {
            most_len: call.last_len,
            growths: 1,
            moves: u64::from(call.last != call.first),
            end: call.begin,
        }
    }
}

/// Chains by place. Two that fall on the same place push one another out.
#[derive(Clone, Debug)]
pub struct OpenChains {
    latest: Box<[Latest; PLACES + 1]>,
    histories: Box<[History; PLACES]>,
}

/// Where a chain stands whose mapping lies at an address.
#[inline]
fn place_of(address: u64) -> usize {
    ((address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % PLACES
}

/// An array that never stands on a stack.
fn zeros<T: Clone + Default, const N: usize>() -> Option<Box<[T; N]>> {
    vec![T::default(); N].into_boxed_slice().try_into().ok()
}

impl OpenChains {
    /// None yet.
    pub fn new() -> Option<Self> {
        Some(Self { latest: zeros()?, histories: zeros()? })
    }

    /// Takes a call of a thread that did not fail: its mapping's chain goes on, or begins if the mapping grew.
    /// `pushed_out` gets a chain of several calls that had to make room.
    #[inline]
    pub fn take(&mut self, call: StoredCall<'_>, ns: u64, tid: u32, pushed_out: impl FnMut(Chain)) {
        let place = place_of(call.old());
        let latest = &self.latest[place];
        // Arrays are compared as one: there is no branch for an address that is right and a length that is not.
        if [latest.last, latest.last_len] == [call.old(), call.old_len()] {
            self.go_on(place, call, ns, tid, pushed_out);
        } else {
            self.begin(call, ns, tid, pushed_out);
        }
    }

    #[inline]
    fn begin(&mut self, call: StoredCall<'_>, ns: u64, tid: u32, pushed_out: impl FnMut(Chain)) {
        // It grew, and from something: 0 < old < new, in one comparison.
        let begins = call.old_len().wrapping_sub(1) < call.new_len().saturating_sub(1);
        // Half of the calls of a busy allocator may grow a mapping: a branch would be guessed wrong as often as not.
        let place = std::hint::select_unpredictable(begins, place_of(call.result()), NOWHERE);
        if self.latest[place].has_several() {
            self.chain(place).into_iter().for_each(pushed_out);
        }
        self.latest[place] = Latest {
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

    /// A call on the mapping of the chain at a place, if there is one: zeros are found at an empty place, too.
    #[inline]
    fn go_on(
        &mut self,
        place: usize,
        call: StoredCall<'_>,
        ns: u64,
        tid: u32,
        pushed_out: impl FnMut(Chain),
    ) {
        let (latest, history) = (&mut self.latest[place], &mut self.histories[place]);
        if latest.first_len == 0 {
            return;
        }
        if !latest.has_several() {
            *history = History::of_one_call(latest);
            latest.thread |= SEVERAL;
        }
        (latest.last, latest.last_len) = (call.result(), call.new_len());
        latest.time = latest.time.saturating_add(ns);
        history.most_len = history.most_len.max(call.new_len());
        history.end = call.ticks();
        if call.new_len() > call.old_len() {
            history.growths += 1;
            (latest.key, latest.thread) = (Key::of(call), SEVERAL | u64::from(tid));
        }
        if call.result() != call.old() {
            history.moves += 1;
            self.put_elsewhere(place, pushed_out);
        }
    }

    /// Puts the chain of several calls at a place where its mapping lies now.
    #[inline(never)]
    fn put_elsewhere(&mut self, place: usize, pushed_out: impl FnMut(Chain)) {
        let (latest, history) = (self.latest[place], self.histories[place]);
        self.remove(place);
        let place = place_of(latest.last);
        if self.latest[place].has_several() {
            self.chain(place).into_iter().for_each(pushed_out);
        }
        (self.latest[place], self.histories[place]) = (latest, history);
    }

    /// The chain at a place.
    fn chain(&self, place: usize) -> Option<Chain> {
        let latest = self.latest.get(place).filter(|latest| latest.first_len > 0)?;
        let history = if latest.has_several() {
            *self.histories.get(place)?
        } else {
            History::of_one_call(latest)
        };
        Some(Chain {
            first: latest.first,
            last: latest.last,
            first_len: latest.first_len,
            last_len: latest.last_len,
            most_len: history.most_len,
            growths: history.growths,
            moves: history.moves,
            time: latest.time,
            begin: latest.begin,
            end: history.end,
            caller: latest.key.caller(),
            tid: latest.thread as u32,
        })
    }

    fn remove(&mut self, place: usize) {
        self.latest[place] = Latest::default();
    }

    /// Puts a chain where its mapping lies now. `pushed_out` gets the one that stood there.
    pub fn put(&mut self, chain: &Chain, pushed_out: impl FnMut(Chain)) {
        let place = place_of(chain.last);
        self.chain(place).into_iter().for_each(pushed_out);
        self.latest[place] = Latest {
            last: chain.last,
            last_len: chain.last_len,
            first: chain.first,
            first_len: chain.first_len,
            begin: chain.begin,
            time: chain.time,
            key: Key::of_caller(chain.caller),
            thread: SEVERAL | u64::from(chain.tid),
        };
        self.histories[place] = History {
            most_len: chain.most_len,
            growths: chain.growths,
            moves: chain.moves,
            end: chain.end,
        };
    }

    /// A later chain, and the open one that it goes on with, which is taken away.
    pub fn join(&mut self, later: &Chain) -> Chain {
        let place = place_of(later.first);
        match self.chain(place) {
            Some(earlier)
                if (earlier.last, earlier.last_len) == (later.first, later.first_len)
                    && earlier.end <= later.begin =>
            {
                self.remove(place);
                earlier.joined_by(later)
            }
            _ => *later,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Chain> {
        (0..PLACES).filter_map(|place| self.chain(place))
    }

    /// Turns the moments of all chains from ticks into nanoseconds.
    pub fn date(&mut self, since_start: impl Fn(u64) -> u64) {
        for latest in self.latest.iter_mut() {
            latest.begin = since_start(latest.begin);
        }
        for history in self.histories.iter_mut() {
            history.end = since_start(history.end);
        }
    }
}
