//! Measures how long other threads could see a half-done move, which the kernel's own move never
//! shows. A long time is reported in the trace.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::process::diagnostics;
use crate::recording::clock;
use crate::recording::ring;

/// Shortest exposure that is reported. Doubles with each report, so that there are few.
static REPORTED_FROM_NS: AtomicU64 = AtomicU64::new(1_000_000);

/// The time from the first part of a move to its last.
pub(crate) struct Exposure {
    /// 0 without a trace, to save reading the clock.
    began_ns: u64,
}

impl Exposure {
    pub(crate) fn begin() -> Self {
        Self { began_ns: if ring::is_wanted() { clock::monotonic_ns() } else { 0 } }
    }

    pub(crate) fn end(self) -> Ended {
        let now = if self.began_ns == 0 { 0 } else { clock::monotonic_ns() };
        Ended { lasted_ns: now.saturating_sub(self.began_ns) }
    }
}

/// An exposure that has ended.
pub(crate) struct Ended {
    lasted_ns: u64,
}

impl Ended {
    /// Reports a long exposure in the trace. The move lock is released.
    pub(crate) fn report(&self) {
        if self.lasted_ns >= REPORTED_FROM_NS.load(Ordering::Relaxed) {
            report(self.lasted_ns);
        }
    }
}

#[cold]
#[inline(never)] // a message's buffers stay off the stack of other moves
fn report(lasted_ns: u64) {
    REPORTED_FROM_NS.store(lasted_ns.saturating_mul(2), Ordering::Relaxed);
    diagnostics::inform(
        "other threads could see a half-done move, for microseconds: ",
        "",
        i64::try_from(lasted_ns / 1000).ok(),
    );
}
