//! An `mremap` that returns at once, to be preloaded behind the preload library: what remains of a call's
//! cost is the hook's own.

use std::ffi::{c_int, c_void};

/// Says that the move was made, or that nothing had to be done. The fifth argument is in its register whether
/// or not the caller gave one.
#[unsafe(no_mangle)]
pub extern "C" fn mremap(
    old: *mut c_void,
    _: usize,
    _: usize,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    if flags & libc::MREMAP_FIXED != 0 { new } else { old }
}
