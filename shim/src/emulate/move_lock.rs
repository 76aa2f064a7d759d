//! The lock that is held while parts move: this thread's signals are blocked, and the process's
//! other emulated moves and forks wait. The kernel holds its mmap lock for the whole move; this is
//! as close as user space can come.
//!
//! No thread waits longer than 100 ms for an owner that is dead, or whose signal handler may have
//! jumped out of its move or fork. Handlers can run under a seccomp filter and during a fork, where
//! no signals are blocked, and while records are stored, where `SIGBUS` is not.

use core::sync::atomic::Ordering;

use crate::process::fork_state::{self, EXPOSED, FORK_STATE, WAITED_FOR, thread_in};
use crate::process::seccomp;
use crate::process::thread;
use crate::recording::move_records::ALL_BUT_SIGBUS;
use crate::sys::{self, SignalSet};

/// Duration of one wait. [`MAX_WAITS`] of them are 100 ms.
const WAIT_MS: i64 = 25;
const MAX_WAITS: u32 = 4;

/// Whether a thread holds the lock.
pub(crate) fn is_taken() -> bool {
    FORK_STATE.owner.load(Ordering::Relaxed) != 0
}

/// Notes that the owner has moved a part, for waiting threads. A fork does not proceed because its
/// thread's handlers move memory: it may wait for a thread that waits for this lock.
#[inline]
pub(super) fn note_progress() {
    if FORK_STATE.owner.load(Ordering::Relaxed) & EXPOSED == 0 {
        count_progress();
    }
}

#[inline]
fn count_progress() {
    let moved = FORK_STATE.progress.load(Ordering::Relaxed);
    FORK_STATE.progress.store(moved.wrapping_add(1), Ordering::Relaxed);
}

/// The lock, held. Released when dropped.
pub(crate) struct MoveLock {
    signals: Option<SignalSet>,
    /// This thread's number. `None` if it held the lock already: in a fork's child that opens its
    /// trace during a move, or in a handler under a filter or during a fork.
    owned_by: Option<u32>,
}

impl MoveLock {
    /// Blocks signals, then waits for other moves. In the other order a handler that makes a move
    /// would wait for the thread that it interrupted. A filtered thread may make neither system
    /// call, so it spins.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the marker must be in the caller's frame
    pub(crate) fn acquire() -> Self {
        let marker = 0u8;
        Self::acquire_in(core::hint::black_box(&raw const marker).addr() as u64)
    }

    #[inline(never)]
    fn acquire_in(frame: u64) -> Self {
        let mut signals = None;
        if !seccomp::is_filtered() {
            signals = sys::set_blocked_signals(SignalSet::MAX);
            // Done at load, unless this call came before.
            fork_state::advise();
        }
        let me = own_number();
        Self { signals, owned_by: lock(me, 0, frame).then_some(me) }
    }

    /// Releases the lock. Signals stay blocked, but for `SIGBUS` where the program does not block
    /// it: records are stored next.
    pub(crate) fn release(mut self) -> BlockedSignals {
        if let Some(me) = self.owned_by.take() {
            release(me);
        }
        let signals = self.signals.take();
        if let Some(of_host) = signals {
            sys::set_blocked_signals(ALL_BUT_SIGBUS | of_host);
        }
        BlockedSignals(signals)
    }
}

/// The signals of the calling thread, restored when this is dropped.
pub(crate) struct BlockedSignals(Option<SignalSet>);

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        if let Some(signals) = self.0 {
            sys::set_blocked_signals(signals);
        }
    }
}

impl Drop for MoveLock {
    fn drop(&mut self) {
        if let Some(me) = self.owned_by {
            release(me);
        }
        drop(BlockedSignals(self.signals));
    }
}

/// Identifies this thread.
fn own_number() -> u32 {
    if seccomp::is_filtered() { thread::own_number() } else { sys::tid() }
}

/// Takes the lock for thread `me`; `exposed` is [`EXPOSED`] or 0. Returns false if a caller further
/// up its stack holds the lock. An owner's frame that is not further up was left by a jump.
fn lock(me: u32, exposed: u32, frame: u64) -> bool {
    let mut wanted = me | exposed;
    let mut patience = Patience::new();
    while let Err(owner) = replace_owner(0, wanted) {
        if thread_in(owner) == me {
            if frame < FORK_STATE.owner_frame.load(Ordering::Relaxed) {
                return false;
            }
            if replace_owner(owner, wanted | owner & WAITED_FOR).is_ok() {
                break;
            }
            continue;
        }
        // Others may still sleep: a thread that has slept wakes the next one.
        wanted |= WAITED_FOR;
        if patience.is_over(owner) && replace_owner(owner, wanted).is_ok() {
            break;
        }
        patience.waits += u32::from(wait_for(owner));
    }
    FORK_STATE.owner_frame.store(frame, Ordering::Relaxed);
    // The same thread may take the lock again while another one waits: that is progress, too.
    count_progress();
    true
}

/// Changes the owner's word, or returns what it is instead.
fn replace_owner(former: u32, new: u32) -> Result<u32, u32> {
    // Acquire pairs with the Release in `release`.
    FORK_STATE.owner.compare_exchange(former, new, Ordering::Acquire, Ordering::Relaxed)
}

/// How long to wait for an owner that moves no part.
struct Patience {
    owner: u32,
    progress: u32,
    /// Waits that lasted for all of their time.
    waits: u32,
    since: u64,
}

impl Patience {
    fn new() -> Self {
        Self { owner: 0, progress: 0, waits: 0, since: 0 }
    }

    /// Called once before each wait.
    fn is_over(&mut self, owner: u32) -> bool {
        let (thread, progress) = (thread_in(owner), FORK_STATE.progress.load(Ordering::Relaxed));
        if (thread, progress) != (self.owner, self.progress) {
            *self = Self { owner: thread, progress, waits: 0, since: ticks() };
        }
        if seccomp::is_filtered() {
            return ticks().wrapping_sub(self.since) > ticks_of_100_ms();
        }
        self.waits >= MAX_WAITS && !will_release(owner)
    }
}

/// Whether an owner is sure to release the lock, however long the scheduler or a large part delays
/// it: it is alive, and no handler can have jumped out of its move. A filtered owner is not: its
/// signals are not blocked.
fn will_release(owner: u32) -> bool {
    owner & (thread::NOT_A_TID | EXPOSED) == 0 && sys::thread_is_alive(thread_in(owner))
}

/// Sleeps until the owner changes, or spins for a moment. Returns whether the owner did not change
/// for [`WAIT_MS`].
fn wait_for(owner: u32) -> bool {
    if seccomp::is_filtered() {
        core::hint::spin_loop();
        return false;
    }
    let marked = owner | WAITED_FOR;
    if owner != marked && replace_owner(owner, marked).is_err() {
        return false;
    }
    sys::futex_wait(&FORK_STATE.owner, marked, WAIT_MS)
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// 20 to 100 ms, since the counter runs at 1 to 5 GHz.
#[cfg(target_arch = "x86_64")]
fn ticks_of_100_ms() -> u64 {
    100_000_000
}

#[cfg(target_arch = "aarch64")]
fn ticks() -> u64 {
    let ticks;
    // SAFETY: Linux lets user space read the counter.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(target_arch = "aarch64")]
fn ticks_of_100_ms() -> u64 {
    let frequency: u64;
    // SAFETY: Linux lets user space read the frequency.
    unsafe { core::arch::asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack)) };
    frequency / 10
}

/// Releases the lock, unless another thread has taken it over.
fn release(me: u32) {
    let mut held = me;
    // Release pairs with the Acquire in `replace_owner`.
    while let Err(owner) =
        FORK_STATE.owner.compare_exchange(held, 0, Ordering::Release, Ordering::Relaxed)
    {
        if thread_in(owner) != me {
            return;
        }
        held = owner;
    }
    if held & WAITED_FOR != 0 && !seccomp::is_filtered() {
        sys::futex_wake_one(&FORK_STATE.owner);
    }
}

/// Takes the lock before a fork, so that the child finds every move done or not begun, and no
/// descriptor of ours. A handler that interrupts the fork may move memory.
pub(crate) unsafe extern "C" fn before_fork() {
    // Until the frame is stored, a handler that moves memory would release the lock.
    let _signals = BlockedSignals(if seccomp::is_filtered() {
        None
    } else {
        sys::set_blocked_signals(SignalSet::MAX)
    });
    lock(own_number(), EXPOSED, u64::MAX);
}

/// Releases the lock, unless another thread has taken it over.
pub(crate) unsafe extern "C" fn after_fork_in_parent() {
    release(own_number());
}

/// The child has one thread, which moves nothing yet. Most kernels have wiped the lock already.
pub(crate) unsafe extern "C" fn after_fork_in_child() {
    FORK_STATE.owner.store(0, Ordering::Relaxed);
    fork_state::begin_child();
}
