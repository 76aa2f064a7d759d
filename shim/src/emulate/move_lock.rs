//! Held while parts are moved: signals are blocked in this thread, and other emulated moves of the
//! process wait. The kernel holds its mmap lock for the whole move; user space comes no nearer.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::process::fork_state::{self, WIPED};
use crate::process::seccomp;
use crate::process::thread;
use crate::sys::{self, SignalSet};

/// Signals that are not blocked while parts are moved.
static LEFT_OPEN: AtomicU64 = AtomicU64::new(0);

/// Bit of the owner's word: threads sleep until it changes.
const WAITED_FOR: u32 = 1 << 31;
const WAIT_MS: i64 = 50;
/// Waits for an owner that is a thread of another process: two seconds.
const MOST_WAITS_FOR_FOREIGN_OWNER: u32 = 40;
/// About a second of spinning.
const MOST_SPINS: u32 = 100_000_000;

/// The signals to block where no handler of the program may run.
pub(crate) fn signals_to_block() -> SignalSet {
    !LEFT_OPEN.load(Ordering::Relaxed)
}

/// Leaves signals unblocked from now on, whose handler is this library's own.
pub(crate) fn leave_open(signals: SignalSet) {
    LEFT_OPEN.fetch_or(signals, Ordering::Relaxed);
}

/// Whether a thread holds the lock.
pub(crate) fn is_taken() -> bool {
    WIPED.owner.load(Ordering::Relaxed) != 0
}

/// The lock, held. Released when dropped.
pub(crate) struct MoveLock {
    signals: Option<SignalSet>,
    /// The owner's number. `None` when this thread held the lock already: a fork's child that opens
    /// its trace during a move, or a handler under a filter.
    owned_by: Option<u32>,
}

impl MoveLock {
    /// Blocks signals, then waits for other moves. In the other order a handler that makes a move
    /// would wait for the thread that it has interrupted.
    pub(crate) fn acquire() -> Self {
        if seccomp::is_filtered() {
            return Self::acquire_without_system_calls();
        }
        let signals = sys::set_blocked_signals(signals_to_block());
        // Done at load, unless this call came before.
        fork_state::advise();
        let me = sys::tid();
        let (mut wanted, mut waits) = (me, 0);
        // Acquire pairs with the Release in `release`.
        while let Err(owner) =
            WIPED.owner.compare_exchange(0, wanted, Ordering::Acquire, Ordering::Relaxed)
        {
            if owner & !WAITED_FOR == me {
                return Self { signals, owned_by: None };
            }
            wait_for(owner, &mut waits);
            // Others may still sleep: whoever has slept wakes the next one.
            wanted = me | WAITED_FOR;
        }
        Self { signals, owned_by: Some(me) }
    }

    fn acquire_without_system_calls() -> Self {
        let me = thread::own_number();
        let mut spins = 0;
        while let Err(owner) =
            WIPED.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
        {
            spins += 1;
            // An owner from before the filter may be dead, which cannot be found out under it.
            if owner == me || spins > MOST_SPINS {
                return Self { signals: None, owned_by: None };
            }
            core::hint::spin_loop();
        }
        Self { signals: None, owned_by: Some(me) }
    }
}

/// Sleeps until the owner has released the lock. Frees the lock of an owner that died in its move:
/// a vfork child that was killed, or a fork's parent on a kernel that does not wipe the page.
///
/// An owner in another process may share this memory, as a vfork child does with its parent, or may
/// only have the number of a dead one: it is given time.
fn wait_for(owner: u32, waits: &mut u32) {
    let marked = owner | WAITED_FOR;
    if owner != marked
        && WIPED
            .owner
            .compare_exchange(owner, marked, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    sys::futex_wait(&WIPED.owner, marked, WAIT_MS);
    let tid = owner & !WAITED_FOR;
    if sys::thread_is_alive(tid) {
        return;
    }
    *waits += 1;
    if *waits > MOST_WAITS_FOR_FOREIGN_OWNER || !sys::some_thread_is_alive(tid) {
        let _ = WIPED.owner.compare_exchange(marked, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for MoveLock {
    fn drop(&mut self) {
        if let Some(me) = self.owned_by {
            release(me);
        }
        if let Some(signals) = self.signals {
            sys::set_blocked_signals(signals);
        }
    }
}

/// Releases the lock, unless this owner was taken for dead.
fn release(me: u32) {
    for held in [me, me | WAITED_FOR] {
        // Release pairs with the Acquire in `acquire`.
        let released = WIPED.owner.compare_exchange(held, 0, Ordering::Release, Ordering::Relaxed);
        if released.is_ok() {
            if held & WAITED_FOR != 0 && !seccomp::is_filtered() {
                sys::futex_wake_one(&WIPED.owner);
            }
            return;
        }
    }
}
