//! How long other threads could see a move half-done, told in the trace when it was long: the kernel's own move shows
//! none of it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::process::diagnostics;
use crate::recording::clock;
use crate::recording::ring;

/// Told of from a millisecond on; after that only what is twice as long as the last one told of.
static LONG_ENOUGH_NS: AtomicU64 = AtomicU64::new(1_000_000);

/// A move of several parts, from its first to its last.
pub(crate) struct Window {
    opened_ns: u64,
}

impl Window {
    /// Opens it; without a trace no clock is read.
    pub(crate) fn open() -> Self {
        let opened_ns = if ring::is_wanted() { clock::monotonic_ns() } else { 0 };
        Self { opened_ns }
    }

    pub(crate) fn close(self) {
        if self.opened_ns == 0 {
            return;
        }
        let length = clock::monotonic_ns().saturating_sub(self.opened_ns);
        let enough = LONG_ENOUGH_NS.load(Ordering::Relaxed);
        if length >= enough {
            tell(length);
        }
    }
}

#[cold]
#[inline(never)] // a message's buffers stay off the stack of other moves
fn tell(length_ns: u64) {
    LONG_ENOUGH_NS.store(length_ns.saturating_mul(2), Ordering::Relaxed);
    diagnostics::inform(
        "other threads could see a move half-done for microseconds: ",
        "",
        i64::try_from(length_ns / 1000).ok(),
    );
}
