//! Clock readings. A tick of the traces written here is a nanosecond of `CLOCK_MONOTONIC`.

/// Two clocks, read one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) monotonic_ns: u64,
    pub(crate) realtime_ns: u64,
}

/// Reads both clocks.
pub(crate) fn now() -> Moment {
    Moment { monotonic_ns: monotonic_ns(), realtime_ns: read(libc::CLOCK_REALTIME) }
}

/// Reads `CLOCK_MONOTONIC` alone.
pub(crate) fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one `timespec`.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
