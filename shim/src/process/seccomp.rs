//! Whether this process has put itself under a seccomp filter. A strict one kills for a system call the
//! program itself never made, so under a filter the hook makes none but `mremap` and `mmap`: VMAs are found by
//! bisection, signals are not blocked, and the trace lives on the space it has.
//!
//! A filter that was there before the program started lets through what every program does while it is
//! loaded, files opened and signals blocked among it; only one that came later has to be feared. It comes
//! through `prctl` or `syscall`, whose hooks call [`mark`].

use core::sync::atomic::{AtomicBool, Ordering};

static IS_FILTERED: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_filtered() -> bool {
    IS_FILTERED.load(Ordering::Relaxed)
}

/// The filter is there, and stays in all that this process forks.
pub(crate) fn mark() {
    IS_FILTERED.store(true, Ordering::Relaxed);
}
