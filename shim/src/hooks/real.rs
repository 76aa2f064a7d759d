//! The functions behind ours: what a program would have called without this library.
//!
//! Found by `dlsym` at load, since `dlsym` may allocate. It is a weak symbol of libc's oldest version: before
//! glibc 2.34 it lives in libdl, which this library would rather not load. A process without libdl has no
//! other tool behind us either (each would need `dlsym` itself), and there the kernel is next.

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

use mremap_plan::{Flags, Request};

use crate::process::thread;
use crate::recording::ring;
use crate::sys::{self, Errno};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".symver mremap_shim_dlsym, dlsym@GLIBC_2.2.5",
    ".symver mremap_shim_dlopen, dlopen@GLIBC_2.2.5",
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".symver mremap_shim_dlsym, dlsym@GLIBC_2.17",
    ".symver mremap_shim_dlopen, dlopen@GLIBC_2.17",
);
global_asm!(".weak mremap_shim_dlsym", ".weak mremap_shim_dlopen");

type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// libc's prototypes, variadic as they are, so that the register that counts vector arguments is right.
type Mremap = unsafe extern "C" fn(*mut c_void, usize, usize, c_int, ...) -> *mut c_void;
type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;
type Prctl = unsafe extern "C" fn(c_int, ...) -> c_int;

/// Each is null until [`resolve`] has found it.
pub(crate) static MREMAP: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static SYSCALL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static IOCTL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static PRCTL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static MMAP: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static MMAP64: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static SHMAT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Finds them all. At load. `are_ours_at` says of an address whether it is that of a function this library exports.
pub(crate) fn resolve(are_ours_at: impl Fn(*const c_void) -> bool) {
    let Some(dlsym) = dlsym() else { return };
    let functions: [(&AtomicPtr<c_void>, &CStr); 7] = [
        (&MREMAP, c"mremap"),
        (&SYSCALL, c"syscall"),
        (&IOCTL, c"ioctl"),
        (&PRCTL, c"prctl"),
        (&MMAP, c"mmap"),
        (&MMAP64, c"mmap64"),
        (&SHMAT, c"shmat"),
    ];
    for (function, name) in functions {
        // SAFETY: the name is a C string; RTLD_NEXT asks for the symbol after this library's own.
        let found = unsafe { dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        // Where another tool relays `dlsym`, "next" counts from that tool, and may be this library itself.
        if !are_ours_at(found) {
            function.store(found, Ordering::Release);
        }
    }
    // By default search, not behind us: a program may have a copy of the variable, which then is the one in use.
    // SAFETY: the name is a C string.
    let found = unsafe { dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
    thread::SINGLE_THREADED.store(found, Ordering::Relaxed);
}

/// The address of a weak symbol, null where there is none.
macro_rules! address_of_weak {
    ($symbol:literal) => {{
        let found: *const c_void;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: reads the word where the loader put the address.
        unsafe {
            core::arch::asm!(
                concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                out(reg) found,
                options(nostack, pure, readonly, preserves_flags),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: reads the word where the loader put the address.
        unsafe {
            core::arch::asm!(
                concat!("adrp {0}, :got:", $symbol),
                concat!("ldr {0}, [{0}, :got_lo12:", $symbol, "]"),
                out(reg) found,
                options(nostack, pure, readonly, preserves_flags),
            );
        }
        found
    }};
}

fn dlsym() -> Option<Dlsym> {
    let found = address_of_weak!("mremap_shim_dlsym");
    // SAFETY: null or the address of `dlsym`, and null is `None`.
    unsafe { core::mem::transmute(found) }
}

fn dlopen() -> Option<Dlopen> {
    let found = address_of_weak!("mremap_shim_dlopen");
    // SAFETY: null or the address of `dlopen`, and null is `None`.
    unsafe { core::mem::transmute(found) }
}

/// Where libc's own `mremap` is, whoever stands in front of it. At load.
pub(crate) fn mremap_of_libc() -> Option<*const c_void> {
    let (dlopen, dlsym) = (dlopen()?, dlsym()?);
    // SAFETY: both names are C strings; libc is there already, and never goes.
    let found = unsafe {
        let libc = dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if libc.is_null() {
            return None;
        }
        dlsym(libc, c"mremap".as_ptr())
    };
    (!found.is_null()).then_some(found.cast_const())
}

/// Calls do not go to libc's `mremap` any more, which will lead back to us.
pub(crate) fn leave_out_libc(entry: usize) {
    let next = MREMAP.load(Ordering::Acquire);
    if next.is_null() || next.addr() == entry {
        MREMAP.store(by_itself as *mut c_void, Ordering::Release);
    }
}

/// What libc's `mremap` does.
unsafe extern "C" fn by_itself(
    old: *mut c_void,
    old_len: usize,
    new_len: usize,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    to_c(sys::mremap(&Request {
        old: old.addr() as u64,
        old_len: old_len as u64,
        new_len: new_len as u64,
        flags: Flags(flags as u32),
        new: new.addr() as u64,
    }))
}

/// The way a call came, and goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// `mremap(…)`.
    Mremap,
    /// `syscall(SYS_mremap, …)`.
    Syscall,
    /// libc's own entry, which was made to jump here: a call of libc's, or one that a library behind us passes on.
    /// Nobody is next but the kernel.
    Kernel,
}

impl Next {
    /// Passes a call on to whoever is next, as it came; answers as C functions do.
    #[inline]
    pub(crate) fn forward(self, request: &Request) -> *mut c_void {
        let (old, old_len, new_len) =
            (request.old as usize, request.old_len as usize, request.new_len as usize);
        let next = match self {
            Self::Mremap => MREMAP.load(Ordering::Acquire),
            Self::Syscall => SYSCALL.load(Ordering::Acquire),
            Self::Kernel => by_itself as *mut c_void,
        };
        if next.is_null() {
            return forward_early(
                request.old,
                request.old_len,
                request.new_len,
                request.flags,
                request.new,
            );
        }
        // SAFETY: `next` came from `dlsym` for this name, so it is a function of this type; the arguments
        // are the program's own, and so is what they do to its memory.
        unsafe {
            match self {
                Self::Mremap | Self::Kernel => {
                    let next: Mremap = core::mem::transmute(next);
                    let (old, new) = (old as *mut c_void, request.new as *mut c_void);
                    next(old, old_len, new_len, request.flags.0 as c_int, new)
                }
                Self::Syscall => {
                    let next: Syscall = core::mem::transmute(next);
                    let flags = u64::from(request.flags.0);
                    next(libc::SYS_mremap, old, old_len, new_len, flags, request.new) as *mut c_void
                }
            }
        }
    }

    /// [`Self::forward`] of a call that is recorded. A library behind us may make a `syscall` of it, or go to libc's
    /// entry, which is the same call still.
    #[inline]
    pub(crate) fn forward_marked(self, request: &Request) -> *mut c_void {
        let thread = thread::current();
        thread.passed_on.set(mark_of(request));
        let answer = self.forward(request);
        thread.passed_on.set(0);
        answer
    }

    /// The same, with the errno in the result.
    #[inline]
    pub(crate) fn call(self, request: &Request) -> sys::Result {
        result_of(self.forward_marked(request))
    }

    /// False before our constructor, when a call goes to the kernel straight away.
    pub(crate) fn is_known(self) -> bool {
        let next = match self {
            Self::Mremap => &MREMAP,
            Self::Syscall => &SYSCALL,
            Self::Kernel => return true,
        };
        !next.load(Ordering::Relaxed).is_null()
    }

    /// Whether a call is the one that this thread has passed on already, come back by another door.
    pub(crate) fn has_come_back(self, request: &Request) -> bool {
        self != Self::Mremap && thread::current().passed_on.get() == mark_of(request)
    }
}

/// Before our constructor. Takes what registers hold: a [`Request`] would be put on the stack of every call.
#[cold]
#[inline(never)]
fn forward_early(old: u64, old_len: u64, new_len: u64, flags: Flags, new: u64) -> *mut c_void {
    ring::count_early();
    to_c(sys::mremap(&Request { old, old_len, new_len, flags, new }))
}

/// Tells a call from what a handler may do meanwhile well enough; never 0. Without the fifth argument, of which
/// others pass on as much as they know.
#[inline]
fn mark_of(request: &Request) -> u64 {
    let lengths = request.old_len.wrapping_mul(2).wrapping_add(request.new_len.wrapping_mul(4));
    request.old.wrapping_add(lengths) | 1
}

/// The result of a C function that returns an address or sets errno.
#[inline]
pub(crate) fn result_of(answer: *mut c_void) -> sys::Result {
    if answer == libc::MAP_FAILED { Err(last_errno()) } else { Ok(answer.addr()) }
}

#[cold]
fn last_errno() -> Errno {
    // SAFETY: libc's errno of this thread, always there.
    let errno = unsafe { *libc::__errno_location() };
    // A tool behind us may fail without saying why.
    Errno(if errno == 0 { libc::ENOMEM } else { errno })
}

/// The next `prctl`, for a call that is not on its way through assembly.
pub(crate) fn prctl(option: c_int, arguments: [usize; 4]) -> c_int {
    let [second, third, fourth, fifth] = arguments;
    let next = PRCTL.load(Ordering::Acquire);
    if next.is_null() {
        let numbered = [option as usize, second, third, fourth, fifth];
        return sys::by_number(libc::SYS_prctl, numbered).map_or_else(fail, |result| result as isize)
            as c_int;
    }
    // SAFETY: `next` came from `dlsym` for this name; the arguments are the program's own.
    unsafe {
        let next: Prctl = core::mem::transmute(next);
        next(option, second, third, fourth, fifth)
    }
}

/// The next `syscall`, likewise.
pub(crate) fn syscall(number: isize, arguments: [usize; 3]) -> isize {
    let [first, second, third] = arguments;
    let next = SYSCALL.load(Ordering::Acquire);
    if next.is_null() {
        let arguments = [first, second, third, 0, 0];
        return sys::by_number(number as c_long, arguments)
            .map_or_else(fail, |result| result as isize);
    }
    // SAFETY: `next` came from `dlsym` for this name; the arguments are the program's own.
    unsafe {
        let next: Syscall = core::mem::transmute(next);
        next(number as c_long, first, second, third) as isize
    }
}

fn fail(errno: Errno) -> isize {
    // SAFETY: libc's errno of this thread, always there.
    unsafe { *libc::__errno_location() = errno.0 };
    -1
}

/// The kernel's answer as libc gives it: errno is set on failure and left alone on success.
pub(crate) fn to_c(result: sys::Result) -> *mut c_void {
    match result {
        Ok(address) => address as *mut c_void,
        Err(errno) => fail(errno) as *mut c_void,
    }
}
