//! The code that calls: a module loaded after the trace was opened is put into the trace when a call first
//! comes from it. Found by its address, never by asking the loader, whose lock the caller may hold.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mremap_plan::Range;

use crate::{discover, identity, ring, sandbox};

/// Return addresses that were looked at, each in the one place its bits give it.
static SEEN: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// Where code was found after load, a module or not: the first [`COUNT`] pairs of start and end.
static FOUND: [[AtomicU64; 2]; MOST_FOUND] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; MOST_FOUND];
static COUNT: AtomicU32 = AtomicU32::new(0);
/// A program that keeps on making code is not followed for ever.
const MOST_FOUND: usize = 64;

/// Makes sure that a caller's module is in the trace. One comparison, once it has been seen.
#[inline]
pub(crate) fn see(caller: u64) {
    let place = (caller ^ caller >> 9) as usize % SEEN.len();
    if let Some(seen) = SEEN.get(place)
        && seen.load(Ordering::Relaxed) != caller
    {
        look_at(caller);
        seen.store(caller, Ordering::Relaxed);
    }
}

/// A new trace begins, and holds what was loaded at first.
pub(crate) fn forget() {
    COUNT.store(0, Ordering::Relaxed);
    for seen in &SEEN {
        seen.store(0, Ordering::Relaxed);
    }
}

#[cold]
#[inline(never)]
fn look_at(caller: u64) {
    if caller == 0 || identity::knows_code_at(caller) || was_found(caller) || sandbox::is_filtered() {
        return;
    }
    let count = COUNT.load(Ordering::Relaxed) as usize;
    let Some([start, end]) = FOUND.get(count) else {
        return;
    };
    discover::find_module(caller, |range, module, path| {
        // A handler may do the same meanwhile: then one of the two is found again later.
        start.store(range.start, Ordering::Relaxed);
        end.store(range.end, Ordering::Relaxed);
        COUNT.store(count as u32 + 1, Ordering::Relaxed);
        if path.first() == Some(&b'/') {
            ring::append_module(module, path);
        }
    });
}

fn was_found(address: u64) -> bool {
    let count = COUNT.load(Ordering::Relaxed) as usize;
    FOUND.iter().take(count).any(|[start, end]| {
        Range {
            start: start.load(Ordering::Relaxed),
            end: end.load(Ordering::Relaxed),
        }
        .contains(address)
    })
}
