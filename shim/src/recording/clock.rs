//! The clock of the trace: the CPU's counter where the kernel trusts it, else the kernel's clock in
//! nanoseconds.
//!
//! Readings come from the CPU or from a system call, never from the vDSO, which a program may move
//! or unmap. A thread that may be under a seccomp filter makes no system call: without a counter
//! its clock stops.
//!
//! The length of a counter's tick follows from readings of all clocks. One is made by a call that
//! comes after 1.5 times the time to the one before, counted from the start of the trace: fewer
//! than 100 in a year.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mremap_trace::Clock;

use crate::process::seccomp;
use crate::recording::ring;
use crate::sys;

static HAS_COUNTER: AtomicBool = AtomicBool::new(false);
/// Ticks when the trace was opened.
static START: AtomicU64 = AtomicU64::new(0);
/// Ticks when the next reading is due.
static DUE: AtomicU64 = AtomicU64::new(u64::MAX);
/// The last [`Reading`], and its words combined by exclusive or.
static LAST: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// One moment on three clocks.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) ticks: u64,
    pub(crate) monotonic_ns: u64,
    pub(crate) realtime_ns: u64,
}

/// Decides what a tick is. At load.
pub(crate) fn choose() {
    HAS_COUNTER.store(has_counter(), Ordering::Relaxed);
}

/// Whether the counter runs at one rate on all CPUs. A virtual machine may hide that it does (CPUID
/// leaf 80000007H, EDX bit 8), so the kernel's choice counts as well.
#[cfg(target_arch = "x86_64")]
fn has_counter() -> bool {
    use core::arch::x86_64::__cpuid;

    use crate::sys::OpenFile;
    const BY_COUNTER: [&[u8]; 3] = [b"tsc", b"kvm-clock", b"hyperv_clocksource_tsc_page"];
    // Every 64-bit CPU has this leaf. Whether it does is not asked: CPUID takes 10 us in a nested
    // virtual machine.
    if __cpuid(0x8000_0007).edx & 1 << 8 != 0 {
        return true;
    }
    let mut text = [0; 64];
    let read = OpenFile::open(c"/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .and_then(|file| file.read(&mut text));
    let name = text.get(..read.unwrap_or(0)).unwrap_or(&[]).trim_ascii_end();
    BY_COUNTER.contains(&name)
}

/// Whether the counter, which the architecture defines, is fast enough to distinguish calls.
#[cfg(target_arch = "aarch64")]
fn has_counter() -> bool {
    const SLOWEST_HZ: u64 = 10_000_000;
    let frequency: u64;
    // SAFETY: reads a register that Linux lets every program read.
    unsafe {
        core::arch::asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack, preserves_flags));
    }
    frequency >= SLOWEST_HZ
}

/// What a tick is.
pub(crate) fn kind() -> Clock {
    if HAS_COUNTER.load(Ordering::Relaxed) { Clock::Counter } else { Clock::Nanoseconds }
}

/// The clock now, in ticks.
#[inline]
pub(crate) fn ticks() -> u64 {
    if HAS_COUNTER.load(Ordering::Relaxed) { counter() } else { kernel_ticks() }
}

/// Ticks since the trace was opened.
pub(crate) fn ticks_since_start() -> u64 {
    ticks().saturating_sub(START.load(Ordering::Relaxed))
}

/// The clock at the start of a call, in ticks. Makes a reading that is due.
#[inline]
pub(crate) fn ticks_of_call() -> u64 {
    let now = ticks();
    if now < DUE.load(Ordering::Relaxed) { now } else { read_when_due(now) }
}

#[inline]
fn counter() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has RDTSC.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: reads a register that Linux lets every program read.
        unsafe {
            core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags));
        }
        ticks
    }
}

#[cold]
#[inline(never)]
fn kernel_ticks() -> u64 {
    monotonic_ns()
}

/// `CLOCK_MONOTONIC` in nanoseconds. A system call; stops under a filter.
pub(crate) fn monotonic_ns() -> u64 {
    if seccomp::is_filtered() { last().monotonic_ns } else { nanoseconds(libc::CLOCK_MONOTONIC) }
}

#[cold]
#[inline(never)]
fn read_when_due(now: u64) -> u64 {
    let due = DUE.load(Ordering::Relaxed);
    let next = now.saturating_add(now.wrapping_sub(START.load(Ordering::Relaxed)) / 2);
    // One thread makes it.
    let is_reader = now >= due
        && !seccomp::is_filtered()
        && DUE.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if !is_reader {
        return now;
    }
    let reading = read();
    keep(&reading);
    if ring::is_intact() {
        ring::note_reading(&reading);
    }
    ticks()
}

/// All clocks now. Not for a filtered thread.
pub(crate) fn read() -> Reading {
    let monotonic_ns = nanoseconds(libc::CLOCK_MONOTONIC);
    let ticks = if HAS_COUNTER.load(Ordering::Relaxed) { counter() } else { monotonic_ns };
    Reading { ticks, monotonic_ns, realtime_ns: nanoseconds(libc::CLOCK_REALTIME) }
}

/// All clocks now, with the distance between the kernel's two taken from the last reading. For a
/// filtered thread, the last reading.
pub(crate) fn read_for_chunk() -> Reading {
    let last = last();
    if seccomp::is_filtered() {
        return last;
    }
    let monotonic_ns = nanoseconds(libc::CLOCK_MONOTONIC);
    let ticks = if HAS_COUNTER.load(Ordering::Relaxed) { counter() } else { monotonic_ns };
    let elapsed = monotonic_ns.wrapping_sub(last.monotonic_ns);
    Reading { ticks, monotonic_ns, realtime_ns: last.realtime_ns.wrapping_add(elapsed) }
}

/// Starts a trace at a reading. The next one is due at once.
pub(crate) fn start(reading: &Reading) {
    keep(reading);
    START.store(reading.ticks, Ordering::Relaxed);
    let due = if HAS_COUNTER.load(Ordering::Relaxed) { reading.ticks } else { u64::MAX };
    DUE.store(due, Ordering::Relaxed);
}

/// Makes a reading for threads that may be filtered from now on.
pub(crate) fn prepare_for_filter() {
    keep(&read());
}

fn keep(Reading { ticks, monotonic_ns, realtime_ns }: &Reading) {
    let check = ticks ^ monotonic_ns ^ realtime_ns;
    for (kept, value) in LAST.iter().zip([*ticks, *monotonic_ns, *realtime_ns, check]) {
        kept.store(value, Ordering::Relaxed);
    }
}

/// The last reading; zeros if it is being stored, maybe by the code that a signal handler
/// interrupts.
pub(crate) fn last() -> Reading {
    const MAX_SPINS: u32 = 100;
    for _ in 0..MAX_SPINS {
        let [ticks, monotonic_ns, realtime_ns, check] =
            LAST.each_ref().map(|kept| kept.load(Ordering::Relaxed));
        if ticks ^ monotonic_ns ^ realtime_ns == check {
            return Reading { ticks, monotonic_ns, realtime_ns };
        }
        core::hint::spin_loop();
    }
    Reading { ticks: 0, monotonic_ns: 0, realtime_ns: 0 }
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let time = sys::clock_time(clock);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
