//! The name of a process's trace.

use core::ffi::CStr;

use crate::recording::identity;
use crate::sys::cell::SyncCell;
use crate::sys::text::Text;

const ROOM: usize = 96;

/// Not on the stack: a fork's child opens its trace in the hook, maybe on an 8 KiB signal stack. Only `choose`
/// writes it, whose callers take turns.
static NAME: SyncCell<Text<ROOM>> = SyncCell::new(Text::EMPTY);

/// Names the trace of a process `NAME.PID.NANOSECONDS.mremap`, as no other process of this boot can be.
///
/// # Safety
/// Called at load, or by the thread that holds `MoveLock`; the name before is not in use any more.
pub(super) unsafe fn choose(pid: u32, monotonic_ns: u64) {
    let exe = identity::exe();
    let base = exe.rsplit(|&byte| byte == b'/').next().unwrap_or(&[]);
    // SAFETY: by the contract above nobody else refers to it.
    let name = unsafe { &mut *NAME.get() };
    *name = Text::EMPTY;
    name.push(base.get(..32).unwrap_or(base));
    name.push(b".");
    name.push_number(u64::from(pid));
    name.push(b".");
    name.push_number(monotonic_ns);
    name.push(b".mremap\0");
}

/// The name given last.
pub(super) fn chosen() -> &'static CStr {
    // SAFETY: it is written before the trace it names is open, and not again in this process.
    let name = unsafe { &*NAME.get() };
    CStr::from_bytes_with_nul(name.get()).unwrap_or(c"unnamed.mremap")
}
