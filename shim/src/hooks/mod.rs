//! The exported names. `mremap` translates a C call, delegates, and translates the answer back; it decides
//! nothing.
//!
//! `syscall`, `ioctl`, `prctl`, `mmap` and `shmat` are naked functions that jump on to the real one, registers, stack and
//! errno as they were, so that `vfork`, `clone` with a new stack and variadic arguments see no frame of ours.
//! Four things are looked at on the way: `syscall(SYS_mremap, …)` turns off to its hook; whatever makes a
//! userfaultfd, maps a file or a segment of shared memory, or installs a seccomp filter leaves a mark.

pub(crate) mod evidence;
pub(crate) mod libc_calls;
pub(crate) mod real;

use core::ffi::{c_int, c_void};

use mremap_plan::{Flags, Request};

use self::real::Next;
use crate::emulate;
use crate::emulate::capability;
use crate::process::seccomp;
use crate::recording;
use crate::recording::return_address;
use crate::recording::ring;

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod naked;

/// `_IO(0xAA, 0x00)` of `include/uapi/linux/userfaultfd.h`: an ioctl on `/dev/userfaultfd`.
const USERFAULTFD_IOC_NEW: i32 = 0xaa00;

// The fifth parameter is read from its register whether or not the caller gave one: on the ABIs this is
// built for an argument of a variadic call arrives where a fixed one would. It is only passed on.
redhook::hook! {
    unsafe fn mremap(old: *mut c_void, old_len: usize, new_len: usize, flags: c_int, new: *mut c_void)
        -> *mut c_void => mremap_hook {
        enter(request(old, old_len, new_len, flags, new), Next::Mremap)
    }
}

/// Where libc's `mremap` is made to jump to, by `libc_calls`.
pub(crate) fn entry_for_libc() -> usize {
    (mremap_by_libc as *const ()).addr()
}

unsafe extern "C" fn mremap_by_libc(
    old: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    enter(request(old, old_len, new_len, flags, new), Next::Kernel)
}

#[inline(always)]
#[allow(clippy::inline_always)] // it stays in registers
fn request(
    old: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: *mut c_void,
) -> Request {
    Request {
        old: old.addr() as u64,
        old_len: old_len as u64,
        new_len: new_len as u64,
        flags: Flags(flags as u32),
        new: new.addr() as u64,
    }
}

/// Whether one of the exported functions is at an address.
pub(crate) fn are_at(address: *const c_void) -> bool {
    let own: [*const c_void; 7] = [
        mremap::mremap as *const c_void,
        naked::syscall as *const c_void,
        naked::ioctl as *const c_void,
        naked::prctl as *const c_void,
        naked::mmap as *const c_void,
        naked::mmap64 as *const c_void,
        naked::shmat as *const c_void,
    ];
    own.contains(&address)
}

/// `syscall(SYS_mremap, …)`, where `syscall` jumps with the registers as they were.
unsafe extern "C" fn mremap_by_number(
    _number: i64,
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u64,
    new: u64,
) -> *mut c_void {
    // The kernel takes a whole word of flags and knows none of the upper half.
    let upper_half_is_sign = flags as i64 == i64::from(flags as i32) || flags >> 32 == 0;
    let flags = if upper_half_is_sign { flags as u32 } else { flags as u32 | 1 << 31 };
    let request = Request { old, old_len, new_len, flags: Flags(flags), new };
    enter(request, Next::Syscall)
}

/// `prctl(PR_SET_SECCOMP, …)`.
unsafe extern "C" fn set_seccomp(
    option: c_int,
    mode: usize,
    filter: usize,
    fourth: usize,
    fifth: usize,
) -> c_int {
    filtered_by(|| real::prctl(option, [mode, filter, fourth, fifth]) as isize) as c_int
}

/// `syscall(SYS_seccomp, …)`.
unsafe extern "C" fn set_seccomp_by_number(
    number: isize,
    operation: u32,
    flags: usize,
    arguments: usize,
) -> isize {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let ask = || real::syscall(number, [operation as usize, flags, arguments]);
    if operation <= SECCOMP_SET_MODE_FILTER { filtered_by(ask) } else { ask() }
}

/// `syscall(SYS_prctl, PR_SET_SECCOMP, …)`.
unsafe extern "C" fn set_seccomp_by_number_of_prctl(
    number: isize,
    option: usize,
    mode: usize,
    filter: usize,
) -> isize {
    filtered_by(|| real::syscall(number, [option, mode, filter]))
}

/// The program is about to install a filter: now is the last time for what it may forbid.
fn filtered_by(install: impl FnOnce() -> isize) -> isize {
    if !seccomp::is_filtered() {
        capability::of_kernel();
        ring::prepare_for_filter();
    }
    let result = install();
    if result >= 0 {
        seccomp::mark();
    }
    result
}

/// Nearly every call of nearly every program ends here: nothing to decide, nothing to record.
#[inline(always)]
#[allow(clippy::inline_always)] // the request stays in registers on this way
fn enter(request: Request, next: Next) -> *mut c_void {
    let goes_on = emulate::passes_through(&request);
    if goes_on && !ring::is_wanted() {
        return next.forward(&request);
    }
    let Request { old, old_len, new_len, flags, new } = request;
    if goes_on {
        record(old, old_len, new_len, flags, new, next)
    } else {
        serve(old, old_len, new_len, flags, new, next)
    }
}

/// A call that goes on as it is and is recorded. Takes what registers hold, so that the exported function is left
/// by a jump: nothing of the call is stored for it, and its return address is the first that [`return_address::find`]
/// meets.
#[inline(never)]
fn record(old: u64, old_len: u64, new_len: u64, flags: Flags, new: u64, next: Next) -> *mut c_void {
    let request = Request { old, old_len, new_len, flags, new };
    if next.has_come_back(&request) {
        return next.forward(&request);
    }
    recording::pass_through(&request, next, return_address::find())
}

/// A call that may have to be carried out here.
#[inline(never)]
fn serve(old: u64, old_len: u64, new_len: u64, flags: Flags, new: u64, next: Next) -> *mut c_void {
    let request = Request { old, old_len, new_len, flags, new };
    if next.has_come_back(&request) {
        return next.forward(&request);
    }
    real::to_c(emulate::serve(&request, next, return_address::find()))
}
