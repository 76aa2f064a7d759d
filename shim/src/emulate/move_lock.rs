//! The time in which parts are moved: signals blocked in this thread, other emulated moves of the process
//! waiting. The kernel holds its mmap lock for the whole move; this is as near as user space comes.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::process::fork_state::{self, WIPED};
use crate::process::seccomp;
use crate::process::thread;
use crate::sys::{self, SignalSet};

/// Signals that stay open while parts are moved.
static LEFT_OPEN: AtomicU64 = AtomicU64::new(0);

/// In the owner's word: others sleep.
const WAITED_FOR: u32 = 1 << 31;
const LOOK_AGAIN_MS: i64 = 50;
/// Two seconds of looking.
const MOST_LOOKS_AT_A_STRANGER: u32 = 40;
/// About a second.
const MOST_ROUNDS: u32 = 100_000_000;

/// What to block where no handler of the program's may run.
pub(crate) fn signals_to_block() -> SignalSet {
    !LEFT_OPEN.load(Ordering::Relaxed)
}

/// Leaves signals open from now on whose handler is this library's own.
pub(crate) fn leave_open(signals: SignalSet) {
    LEFT_OPEN.fetch_or(signals, Ordering::Relaxed);
}

/// Whether some thread is moving parts now.
pub(crate) fn is_taken() -> bool {
    WIPED.owner.load(Ordering::Relaxed) != 0
}

/// Held while parts are moved.
pub(crate) struct Exclusive {
    signals: Option<SignalSet>,
    /// The owner's number; none when this thread had it already (a fork's child that opens its trace while it
    /// moves, a handler under a filter).
    owned_by: Option<u32>,
}

impl Exclusive {
    /// Blocks signals, then waits for other moves. In this order: a handler that ran while its thread held
    /// the lock, and moved something itself, would wait for ever.
    pub(crate) fn enter() -> Self {
        if seccomp::is_filtered() {
            return Self::enter_without_system_calls();
        }
        let signals = sys::set_blocked_signals(signals_to_block());
        // Done at load, unless this call came before.
        fork_state::advise();
        let me = sys::tid();
        let (mut wanted, mut looks) = (me, 0);
        // Acquire pairs with the Release in `drop`: the former owner's moves are behind us.
        while let Err(owner) =
            WIPED.owner.compare_exchange(0, wanted, Ordering::Acquire, Ordering::Relaxed)
        {
            if owner & !WAITED_FOR == me {
                return Self { signals, owned_by: None };
            }
            wait_for(owner, &mut looks);
            // Others may still sleep: whoever has slept wakes the next one.
            wanted = me | WAITED_FOR;
        }
        Self { signals, owned_by: Some(me) }
    }

    fn enter_without_system_calls() -> Self {
        let me = thread::own_number();
        let mut rounds = 0;
        while let Err(owner) =
            WIPED.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
        {
            rounds += 1;
            // An owner that was there before the filter may be dead; nobody can be asked.
            if owner == me || rounds > MOST_ROUNDS {
                return Self { signals: None, owned_by: None };
            }
            core::hint::spin_loop();
        }
        Self { signals: None, owned_by: Some(me) }
    }
}

/// Sleeps until the owner is done. An owner that died half-way (a vfork child killed in a move, a fork on a
/// kernel that did not wipe the page) is noticed, and its lock freed. An owner in another process may share this
/// memory, as a vfork child and its parent do, or be a stranger who has a dead one's number: it is given time.
fn wait_for(owner: u32, looks: &mut u32) {
    let marked = owner | WAITED_FOR;
    if owner != marked
        && WIPED
            .owner
            .compare_exchange(owner, marked, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    sys::futex_wait(&WIPED.owner, marked, LOOK_AGAIN_MS);
    let tid = owner & !WAITED_FOR;
    if sys::thread_is_alive(tid) {
        return;
    }
    *looks += 1;
    if *looks > MOST_LOOKS_AT_A_STRANGER || !sys::some_thread_is_alive(tid) {
        let _ = WIPED.owner.compare_exchange(marked, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if let Some(me) = self.owned_by {
            release(me);
        }
        if let Some(signals) = self.signals {
            sys::set_blocked_signals(signals);
        }
    }
}

/// Gives the lock up, unless somebody took this owner for dead.
fn release(me: u32) {
    for held in [me, me | WAITED_FOR] {
        // Release pairs with the Acquire in `enter`.
        let released = WIPED.owner.compare_exchange(held, 0, Ordering::Release, Ordering::Relaxed);
        if released.is_ok() {
            if held & WAITED_FOR != 0 && !seccomp::is_filtered() {
                sys::futex_wake_one(&WIPED.owner);
            }
            return;
        }
    }
}
