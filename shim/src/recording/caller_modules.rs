//! The code that calls: a module loaded after the trace was opened is put into the trace when a call first
//! comes from it. Found by its address, never by asking the loader, whose lock the caller may hold. A fork's child has a trace
//! of its own, and has seen nobody.

use core::sync::atomic::Ordering;

use mremap_plan::{Range, Vma};
use mremap_trace::Module;

use crate::discover;
use crate::process::fork_state::WIPED;
use crate::process::seccomp;
use crate::recording::identity;
use crate::recording::ring;

/// Makes sure that a caller's module is in the trace. One comparison, once it has been seen.
#[inline]
pub(crate) fn see(caller: u64) {
    let place = (caller ^ caller >> 9) as usize % WIPED.callers_seen.len();
    if let Some(seen) = WIPED.callers_seen.get(place)
        && seen.load(Ordering::Relaxed) != caller
    {
        look_at(caller);
        seen.store(caller, Ordering::Relaxed);
    }
}

#[cold]
#[inline(never)]
fn look_at(caller: u64) {
    if caller == 0 || identity::knows_code_at(caller) || was_found(caller) || seccomp::is_filtered()
    {
        return;
    }
    let count = WIPED.code_count.load(Ordering::Relaxed) as usize;
    let Some([start, end]) = WIPED.code_found.get(count) else {
        return;
    };
    discover::find_code(caller, |vma, build_id, path| {
        // A handler may do the same meanwhile: then one of the two is found again later.
        start.store(vma.range.start, Ordering::Relaxed);
        end.store(vma.range.end, Ordering::Relaxed);
        WIPED.code_count.store(count as u32 + 1, Ordering::Relaxed);
        if path.first() == Some(&b'/') {
            ring::append_module(module_of(vma, build_id), path);
        }
    });
}

fn was_found(address: u64) -> bool {
    let count = WIPED.code_count.load(Ordering::Relaxed) as usize;
    WIPED.code_found.iter().take(count).any(|[start, end]| {
        Range { start: start.load(Ordering::Relaxed), end: end.load(Ordering::Relaxed) }
            .contains(address)
    })
}

fn module_of(vma: &Vma, build_id: &[u8]) -> Module {
    let mut module = Module {
        start: vma.range.start,
        end: vma.range.end,
        offset: vma.offset,
        ..Module::default()
    };
    for (place, byte) in module.build_id.iter_mut().zip(build_id) {
        *place = *byte;
        module.build_id_len += 1;
    }
    module
}
