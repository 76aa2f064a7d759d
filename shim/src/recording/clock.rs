//! The clock of the trace: the CPU's counter where it runs at one rate in every state, else nanoseconds.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mremap_trace::Clock;

use crate::sys::OpenFile;

static COUNTER_IS_INVARIANT: AtomicBool = AtomicBool::new(false);
/// No more readings: the ones in [`LAST`] are given out for ever.
static STOPPED: AtomicBool = AtomicBool::new(false);
/// The fields of the last [`Moment`].
static LAST: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// One moment on three clocks.
pub(crate) struct Moment {
    pub(crate) ticks: u64,
    pub(crate) monotonic_ns: u64,
    pub(crate) realtime_ns: u64,
}

/// Decides on the clock. At load.
pub(crate) fn choose() {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::__cpuid;
        // Intel SDM, CPUID leaf 80000007H: EDX bit 8 is the invariant TSC.
        let invariant =
            __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0;
        COUNTER_IS_INVARIANT.store(invariant, Ordering::Relaxed);
    }
}

/// As the trace's header names the clock.
pub(crate) fn kind() -> Clock {
    if COUNTER_IS_INVARIANT.load(Ordering::Relaxed) { Clock::Counter } else { Clock::Nanoseconds }
}

#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if COUNTER_IS_INVARIANT.load(Ordering::Relaxed) {
        // SAFETY: RDTSC is there on every x86-64 CPU.
        return unsafe { core::arch::x86_64::_rdtsc() };
    }
    kernel_ticks()
}

#[cfg_attr(target_arch = "x86_64", cold)]
#[inline(never)]
fn kernel_ticks() -> u64 {
    if STOPPED.load(Ordering::Acquire) {
        return LAST[0].load(Ordering::Relaxed);
    }
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// A filter is coming. Where the kernel's clock cannot be read without a system call, which it might kill for,
/// time stands still from here on.
pub(crate) fn prepare_for_filter() {
    if vdso_serves() {
        return;
    }
    let moment = now();
    for (place, value) in LAST.iter().zip([moment.ticks, moment.monotonic_ns, moment.realtime_ns]) {
        place.store(value, Ordering::Relaxed);
    }
    STOPPED.store(true, Ordering::Release);
}

/// Whether the vDSO can read the kernel's clock source.
fn vdso_serves() -> bool {
    const SERVED: [&[u8]; 4] =
        [b"tsc", b"kvm-clock", b"hyperv_clocksource_tsc_page", b"arch_sys_counter"];
    let mut text = [0; 64];
    let read = OpenFile::open(c"/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .and_then(|file| file.read(&mut text));
    let named = text.get(..read.unwrap_or(0)).unwrap_or(&[]).trim_ascii_end();
    SERVED.contains(&named)
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> u64 {
    if STOPPED.load(Ordering::Acquire) {
        return LAST[1].load(Ordering::Relaxed);
    }
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// All clocks at once.
pub(crate) fn now() -> Moment {
    if STOPPED.load(Ordering::Acquire) {
        let [ticks, monotonic_ns, realtime_ns] = &LAST;
        return Moment {
            ticks: ticks.load(Ordering::Relaxed),
            monotonic_ns: monotonic_ns.load(Ordering::Relaxed),
            realtime_ns: realtime_ns.load(Ordering::Relaxed),
        };
    }
    let monotonic_ns = nanoseconds(libc::CLOCK_MONOTONIC);
    let ticks = if kind() == Clock::Counter { ticks() } else { monotonic_ns };
    Moment { ticks, monotonic_ns, realtime_ns: nanoseconds(libc::CLOCK_REALTIME) }
}

/// From the vDSO, through libc: no system call. The one libc function below the hook.
fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the one `timespec` it is given; async-signal-safe. Errno is put back: where the vDSO
    // cannot serve, this is a system call, which a filter may refuse.
    unsafe {
        let errno = libc::__errno_location();
        let former = *errno;
        libc::clock_gettime(clock, &raw mut time);
        *errno = former;
    }
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
