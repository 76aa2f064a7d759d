//! The exported name. Translates a C call, delegates, translates the answer back; decides nothing.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

use mremap_plan::{Flags, Request};

use crate::{caller, moves, ring, sys};

/// libc's prototype. Called as the variadic function it is, so that the register that counts vector
/// arguments is right.
type MremapFn = unsafe extern "C" fn(*mut c_void, usize, usize, c_int, ...) -> *mut c_void;

/// The next `mremap` in symbol order; null until [`crate::load`] has found it.
static NEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Finds the next `mremap`. At load only: `dlsym` may allocate.
pub(crate) fn resolve_next() {
    // SAFETY: the name is a C string; RTLD_NEXT asks for the symbol after this library's own.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"mremap".as_ptr()) };
    NEXT.store(next, Ordering::Release);
}

// The fifth parameter is read from its register whether or not the caller gave one: on the ABIs this is
// built for an argument of a variadic call arrives where a fixed one would. It is only passed on.
redhook::hook! {
    unsafe fn mremap(old: *mut c_void, old_len: usize, new_len: usize, flags: c_int, new: *mut c_void)
        -> *mut c_void => mremap_hook {
        enter(old, old_len, new_len, flags, new)
    }
}

#[inline(always)]
#[allow(clippy::inline_always)] // keeps the frame that `caller` has to walk over small
fn enter(old: *mut c_void, old_len: usize, new_len: usize, flags: c_int, new: *mut c_void) -> *mut c_void {
    let request = Request {
        old: old.addr() as u64,
        old_len: old_len as u64,
        new_len: new_len as u64,
        flags: Flags(flags as u32),
        new: new.addr() as u64,
    };
    if moves::concerns_nobody(&request) {
        return forward(&request);
    }
    to_c(moves::serve(&request, caller::return_address()))
}

/// Passes a call on as it came, to whoever is next.
pub(crate) fn forward(request: &Request) -> *mut c_void {
    let next = NEXT.load(Ordering::Acquire);
    if next.is_null() {
        ring::count_early();
        return to_c(sys::mremap(request));
    }
    // SAFETY: `next` came from `dlsym` for this name, so it is a function of this type; the arguments are
    // the program's own, and so is what they do to its memory.
    unsafe {
        let next: MremapFn = core::mem::transmute(next);
        next(
            request.old as *mut c_void,
            request.old_len as usize,
            request.new_len as usize,
            request.flags.0 as c_int,
            request.new as *mut c_void,
        )
    }
}

/// [`forward`], with the answer as the kernel gives it: an address, or minus the errno.
pub(crate) fn forward_raw(request: &Request) -> isize {
    let result = forward(request);
    if result == libc::MAP_FAILED {
        // SAFETY: libc's errno of this thread, always there.
        return -(unsafe { *libc::__errno_location() } as isize);
    }
    result.addr() as isize
}

/// The kernel's answer as libc gives it: errno is set on failure and left alone on success.
fn to_c(result: isize) -> *mut c_void {
    if (-4095..0).contains(&result) {
        // SAFETY: libc's errno of this thread, always there.
        unsafe { *libc::__errno_location() = -result as c_int };
        return libc::MAP_FAILED;
    }
    result as *mut c_void
}
