//! The exported functions: where a call comes in, and where it goes.
//!
//! ```text
//!  mremap(…) ────────────────┐
//!  syscall(SYS_mremap, …) ───┼─▶ dispatch ─┬─▶ Real::forward    neither recorded nor emulated
//!  realloc in a patched libc ┘             ├─▶ record           recorded and forwarded
//!                                          └─▶ emulate::handle  a MREMAP_FIXED call
//!
//!  prctl(PR_SET_SECCOMP, …), syscall(SYS_seccomp, …) ─▶ Filter::install ─▶ the real function
//!  dlclose ─▶ the real function ─▶ caller_modules::forget_unloaded
//!  syscall, ioctl, mmap, shmat ─▶ leave a mark (evidence) ─▶ jump to the real function
//! ```
//!
//! All but `mremap` and `dlclose` are naked functions. They leave registers, stack and errno as
//! they were, so that `vfork`, `clone` with a new stack and variadic arguments work.

pub(crate) mod evidence;
pub(crate) mod libc_calls;
pub(crate) mod real;

use core::ffi::{c_int, c_void};

use mremap_plan::{Flags, Request};

use self::real::Real;
use crate::emulate;
use crate::emulate::capability;
use crate::process::seccomp::{self, Scope};
use crate::recording;
use crate::recording::caller_modules;
use crate::recording::return_address;
use crate::recording::ring;

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod naked;

/// `_IO(0xAA, 0x00)` of `include/uapi/linux/userfaultfd.h`: an ioctl on `/dev/userfaultfd`.
const USERFAULTFD_IOC_NEW: i32 = 0xaa00;

// The fifth argument of a variadic call is in the register of a fixed one. It is read whether or
// not the caller gave one, and only passed on.
redhook::hook! {
    unsafe fn mremap(old: *mut c_void, old_len: usize, new_len: usize, flags: c_int, new: *mut c_void)
        -> *mut c_void => mremap_hook {
        dispatch(request(old, old_len, new_len, flags, new), Real::Mremap)
    }
}

/// Closes a library, and notes that another one may be loaded at its address.
///
/// # Safety
/// As for the function of this name in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    let answer = real::dlclose(handle, is_own);
    if ring::is_wanted() {
        caller_modules::forget_unloaded();
    }
    answer
}

/// Address that libc's `mremap` jumps to once `libc_calls` has patched it.
pub(crate) fn entry_for_libc() -> usize {
    (mremap_in_libc as *const ()).addr()
}

unsafe extern "C" fn mremap_in_libc(
    old: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    dispatch(request(old, old_len, new_len, flags, new), Real::Kernel)
}

#[inline(always)]
#[allow(clippy::inline_always)] // keeps the arguments in registers
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

/// Whether `address` is that of an exported function.
pub(crate) fn is_own(address: *const c_void) -> bool {
    let own: [*const c_void; 8] = [
        mremap::mremap as *const c_void,
        naked::syscall as *const c_void,
        naked::ioctl as *const c_void,
        naked::prctl as *const c_void,
        naked::mmap as *const c_void,
        naked::mmap64 as *const c_void,
        naked::shmat as *const c_void,
        dlclose as *const c_void,
    ];
    own.contains(&address)
}

/// `syscall(SYS_mremap, …)`, reached by a jump from `syscall`.
unsafe extern "C" fn mremap_by_number(
    _number: i64,
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u64,
    new: u64,
) -> *mut c_void {
    // The kernel takes 64 bits of flags and refuses the upper ones; a sign extension is of an int.
    let fits = flags as i64 == i64::from(flags as i32) || flags >> 32 == 0;
    let flags = if fits { flags as u32 } else { flags as u32 | 1 << 31 };
    let request = Request { old, old_len, new_len, flags: Flags(flags), new };
    dispatch(request, Real::Syscall)
}

/// Nearly every call of nearly every program ends here, with nothing to decide and nothing to
/// record.
#[inline(always)]
#[allow(clippy::inline_always)] // keeps the request in registers
fn dispatch(request: Request, real: Real) -> *mut c_void {
    let is_forwarded = emulate::passes_through(&request);
    if is_forwarded && !ring::is_wanted() {
        return real.forward(&request);
    }
    let Request { old, old_len, new_len, flags, new } = request;
    if is_forwarded {
        record(old, old_len, new_len, flags, new, real)
    } else {
        handle(old, old_len, new_len, flags, new, real)
    }
}

/// Forwards and records a call. Takes what registers hold, so that the exported function ends in a
/// jump here: it stores nothing, and its return address is the first that [`return_address::find`]
/// meets.
#[inline(never)]
fn record(old: u64, old_len: u64, new_len: u64, flags: Flags, new: u64, real: Real) -> *mut c_void {
    let request = Request { old, old_len, new_len, flags, new };
    if real.has_come_back(&request) {
        return real.forward(&request);
    }
    recording::pass_through(&request, real, return_address::find())
}

/// Handles a call that may have to be emulated.
#[inline(never)]
fn handle(old: u64, old_len: u64, new_len: u64, flags: Flags, new: u64, real: Real) -> *mut c_void {
    let request = Request { old, old_len, new_len, flags, new };
    if real.has_come_back(&request) {
        return real.forward(&request);
    }
    real::to_c(emulate::handle(&request, real, return_address::find()))
}

/// `prctl(PR_SET_SECCOMP, mode, program)`, reached by a jump from `prctl`.
unsafe extern "C" fn set_seccomp(
    option: c_int,
    mode: usize,
    program: usize,
    fourth: usize,
    fifth: usize,
) -> c_int {
    Filter::of_prctl(mode, program)
        .install(|| real::prctl(option, [mode, program, fourth, fifth]) as isize) as c_int
}

/// `syscall(SYS_prctl, PR_SET_SECCOMP, mode, program)`, reached by a jump from `syscall`.
unsafe extern "C" fn set_seccomp_by_number_of_prctl(
    number: isize,
    option: usize,
    mode: usize,
    program: usize,
) -> isize {
    Filter::of_prctl(mode, program).install(|| real::syscall(number, [option, mode, program]))
}

/// `syscall(SYS_seccomp, operation, flags, program)`, reached by a jump from `syscall`.
unsafe extern "C" fn set_seccomp_by_number(
    number: isize,
    operation: u32,
    flags: usize,
    program: usize,
) -> isize {
    let install = || real::syscall(number, [operation as usize, flags, program]);
    match operation {
        0 | 1 => Filter::of_seccomp(operation, flags, program).install(install),
        _ => install(),
    }
}

/// A seccomp filter that the program is about to install.
struct Filter {
    scope: Scope,
    /// A filter at null asks the kernel what it supports. The call fails.
    is_probe: bool,
    /// Success is a file descriptor. Without one it is 0, and a positive result is the id of a
    /// thread that could not be synchronized.
    returns_descriptor: bool,
}

impl Filter {
    fn of_prctl(mode: usize, program: usize) -> Self {
        let is_probe = mode == libc::SECCOMP_MODE_FILTER as usize && program == 0;
        Self { scope: Scope::Thread, is_probe, returns_descriptor: false }
    }

    /// `operation` is `SECCOMP_SET_MODE_STRICT`, 0, or `SECCOMP_SET_MODE_FILTER`, 1.
    fn of_seccomp(operation: u32, flags: usize, program: usize) -> Self {
        let has = |flag: core::ffi::c_ulong| flags & flag as usize != 0;
        Self {
            scope: if has(libc::SECCOMP_FILTER_FLAG_TSYNC) {
                Scope::Process
            } else {
                Scope::Thread
            },
            is_probe: operation == 1 && program == 0,
            returns_descriptor: has(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        }
    }

    /// Calls `install`. What the filter may forbid later is done before.
    fn install(self, install: impl FnOnce() -> isize) -> isize {
        if !self.is_probe && !seccomp::is_filtered() {
            capability::of_kernel();
            ring::prepare_for_filter();
        }
        let result = install();
        if result == 0 || result > 0 && self.returns_descriptor {
            seccomp::mark(self.scope);
        }
        result
    }
}
