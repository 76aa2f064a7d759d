//! The clock of the trace: the CPU's counter where it runs at one rate in every state, else nanoseconds.

use core::sync::atomic::{AtomicBool, Ordering};

static COUNTER_IS_INVARIANT: AtomicBool = AtomicBool::new(false);

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
        let invariant = __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0;
        COUNTER_IS_INVARIANT.store(invariant, Ordering::Relaxed);
    }
}

/// As the trace's header names the clock.
pub(crate) fn kind() -> u32 {
    if COUNTER_IS_INVARIANT.load(Ordering::Relaxed) {
        1
    } else {
        2
    }
}

#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if COUNTER_IS_INVARIANT.load(Ordering::Relaxed) {
        // SAFETY: RDTSC is there on every x86-64 CPU.
        return unsafe { core::arch::x86_64::_rdtsc() };
    }
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// All clocks at once.
pub(crate) fn now() -> Moment {
    let monotonic_ns = nanoseconds(libc::CLOCK_MONOTONIC);
    let ticks = if kind() == 1 { ticks() } else { monotonic_ns };
    Moment {
        ticks,
        monotonic_ns,
        realtime_ns: nanoseconds(libc::CLOCK_REALTIME),
    }
}

/// From the vDSO, through libc: no system call. The one libc function below the hook.
fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the one `timespec` it is given; async-signal-safe. Errno is put back: where the vDSO
    // cannot serve, this is a system call, which a filter may refuse.
    unsafe {
        let errno = libc::__errno_location();
        let former = *errno;
        libc::clock_gettime(clock, &raw mut time);
        *errno = former;
    }
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}
