//! The real functions: those that the program would call without this library. Another preloaded
//! library may be between us and libc.
//!
//! `dlsym` finds them once, at load, because it may allocate. It is a weak symbol: before glibc
//! 2.34 it is part of libdl, which this library does not load. A process without libdl has no other
//! library between us and libc, since that would need `dlsym` too, and calls go to the kernel
//! directly. Symbol versions are those of the oldest glibc; musl ignores them.

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
global_asm!(".weak mremap_shim_dlsym", ".weak mremap_shim_dlopen", ".weak gnu_get_libc_version");

type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

// libc's prototypes. Variadic, so that the register that counts vector arguments is set.
type Mremap = unsafe extern "C" fn(*mut c_void, usize, usize, c_int, ...) -> *mut c_void;
type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;
type Dlclose = unsafe extern "C" fn(*mut c_void) -> c_int;
type Prctl = unsafe extern "C" fn(c_int, ...) -> c_int;

// Null until `resolve` has found them, and where libc has no such function.
pub(crate) static MREMAP: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static SYSCALL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static IOCTL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static PRCTL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static MMAP: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static MMAP64: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static SHMAT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// Found at the first call, which other libraries' constructors may make before ours.
static DLCLOSE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Finds the real functions. Called at most once, at load. `is_own` tells this library's exported
/// functions from others.
pub(crate) fn resolve(is_own: impl Fn(*const c_void) -> bool) {
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
        // SAFETY: the name is a C string; RTLD_NEXT searches the libraries after this one.
        let found = unsafe { dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        // A library that wraps `dlsym` makes "next" count from itself, and may find our own
        // function.
        if !is_own(found) {
            function.store(found, Ordering::Release);
        }
    }
}

type ForkHandler = unsafe extern "C" fn();

/// Has libc call these before and after each `fork`. At load. In glibc `pthread_atfork` is a
/// function of each program's own, so what it calls is found instead. No `dlsym` may fail here:
/// musl would keep the message for `dlerror`.
pub(crate) fn at_fork(prepare: ForkHandler, parent: ForkHandler, child: ForkHandler) {
    type RegisterAtfork =
        unsafe extern "C" fn(ForkHandler, ForkHandler, ForkHandler, *mut c_void) -> c_int;
    let Some(dlsym) = dlsym() else { return };
    let name = if libc_is_glibc() { c"__register_atfork" } else { c"pthread_atfork" };
    // SAFETY: the name is a C string.
    let found = unsafe { dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: null, or a function of this type. `pthread_atfork` ignores the last argument.
    let register: Option<RegisterAtfork> = unsafe { core::mem::transmute(found) };
    if let Some(register) = register {
        // SAFETY: the handlers stay as long as the process: the library is never unloaded.
        unsafe { register(prepare, parent, child, core::ptr::null_mut()) };
    }
}

/// Address of a weak symbol, or null.
macro_rules! address_of_weak {
    ($symbol:literal) => {{
        let found: *const c_void;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: reads the entry of the global offset table that the loader has filled in.
        unsafe {
            core::arch::asm!(
                concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                out(reg) found,
                options(nostack, pure, readonly, preserves_flags),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: reads the entry of the global offset table that the loader has filled in.
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

/// Whether libc is glibc. The other one that is known is musl.
pub(crate) fn libc_is_glibc() -> bool {
    !address_of_weak!("gnu_get_libc_version").is_null()
}

fn dlsym() -> Option<Dlsym> {
    let found = address_of_weak!("mremap_shim_dlsym");
    // SAFETY: null, which is `None`, or the address of `dlsym`.
    unsafe { core::mem::transmute(found) }
}

fn dlopen() -> Option<Dlopen> {
    let found = address_of_weak!("mremap_shim_dlopen");
    // SAFETY: null, which is `None`, or the address of `dlopen`.
    unsafe { core::mem::transmute(found) }
}

/// Address of libc's own `mremap`, even if other libraries interpose it. At load only. musl takes
/// the name for its own.
pub(crate) fn mremap_of_libc() -> Option<*const c_void> {
    in_library(c"libc.so.6", c"mremap").map(<*mut c_void>::cast_const)
}

/// Finds a function of a library of libc's, if that is loaded.
fn in_library(library: &CStr, function: &CStr) -> Option<*mut c_void> {
    let (dlopen, dlsym) = (dlopen()?, dlsym()?);
    // SAFETY: both names are C strings; the library is loaded already and stays.
    let found = unsafe {
        let library = dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if library.is_null() {
            return None;
        }
        dlsym(library, function.as_ptr())
    };
    (!found.is_null()).then_some(found)
}

/// Forwards calls to the kernel instead of libc's `mremap`, whose code at `entry` now leads back to
/// us.
pub(crate) fn bypass_libc(entry: usize) {
    let real = MREMAP.load(Ordering::Acquire);
    if real.is_null() || real.addr() == entry {
        MREMAP.store(mremap_of_kernel as *mut c_void, Ordering::Release);
    }
}

/// Does what libc's `mremap` does.
unsafe extern "C" fn mremap_of_kernel(
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

/// The function that a call is forwarded to: the real one of the hook it came through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Real {
    /// The call came through `mremap(…)`.
    Mremap,
    /// The call came through `syscall(SYS_mremap, …)`.
    Syscall,
    /// The call came through libc's patched `mremap`: one of libc's own, or one that a library
    /// after us forwards.
    Kernel,
}

impl Real {
    /// Forwards a call unchanged. Returns as a C function does, with errno set on failure.
    #[inline]
    pub(crate) fn forward(self, request: &Request) -> *mut c_void {
        let (old, old_len, new_len) =
            (request.old as usize, request.old_len as usize, request.new_len as usize);
        let real = match self {
            Self::Mremap => MREMAP.load(Ordering::Acquire),
            Self::Syscall => SYSCALL.load(Ordering::Acquire),
            Self::Kernel => mremap_of_kernel as *mut c_void,
        };
        if real.is_null() {
            return forward_early(
                request.old,
                request.old_len,
                request.new_len,
                request.flags,
                request.new,
            );
        }
        // SAFETY: `dlsym` found `real` by this name, so it is a function of this type. The
        // arguments are the program's own, and so is what they do to its memory.
        unsafe {
            match self {
                Self::Mremap | Self::Kernel => {
                    let real: Mremap = core::mem::transmute(real);
                    let (old, new) = (old as *mut c_void, request.new as *mut c_void);
                    real(old, old_len, new_len, request.flags.0 as c_int, new)
                }
                Self::Syscall => {
                    let real: Syscall = core::mem::transmute(real);
                    let flags = u64::from(request.flags.0);
                    real(libc::SYS_mremap, old, old_len, new_len, flags, request.new) as *mut c_void
                }
            }
        }
    }

    /// Forwards a recorded call, like [`Self::forward`]. A library after us may turn it into a
    /// `syscall`, or call libc's patched `mremap`: [`Self::has_come_back`] then recognizes it, so
    /// that it is recorded once.
    #[inline]
    pub(crate) fn forward_marked(self, request: &Request) -> *mut c_void {
        let thread = thread::current();
        thread.passed_on.set(mark_of(request));
        let answer = self.forward(request);
        thread.passed_on.set(0);
        answer
    }

    /// [`Self::forward_marked`], returning the address or the errno.
    #[inline]
    pub(crate) fn call(self, request: &Request) -> sys::Result {
        result_of(self.forward_marked(request))
    }

    /// False before our constructor, when calls go to the kernel directly.
    pub(crate) fn is_known(self) -> bool {
        let real = match self {
            Self::Mremap => &MREMAP,
            Self::Syscall => &SYSCALL,
            Self::Kernel => return true,
        };
        !real.load(Ordering::Relaxed).is_null()
    }

    /// Whether this thread is forwarding the same call already, which has come back through another
    /// hook.
    pub(crate) fn has_come_back(self, request: &Request) -> bool {
        self != Self::Mremap && thread::current().passed_on.get() == mark_of(request)
    }
}

/// Forwards a call that came before our constructor. Takes what registers hold: a reference to the
/// [`Request`] would put it on the stack of every call.
#[cold]
#[inline(never)]
fn forward_early(old: u64, old_len: u64, new_len: u64, flags: Flags, new: u64) -> *mut c_void {
    ring::count_early();
    to_c(sys::mremap(&Request { old, old_len, new_len, flags, new }))
}

/// Identifies a call well enough to distinguish it from a signal handler's. Never 0. The
/// fifth argument is left out, since not every library forwards it.
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
    let errno = errno();
    // A library after us may fail without setting errno.
    Errno(if errno == 0 { libc::ENOMEM } else { errno })
}

/// Calls the real `prctl`.
pub(crate) fn prctl(option: c_int, arguments: [usize; 4]) -> c_int {
    let [second, third, fourth, fifth] = arguments;
    let real = PRCTL.load(Ordering::Acquire);
    if real.is_null() {
        let numbered = [option as usize, second, third, fourth, fifth];
        return sys::by_number(libc::SYS_prctl, numbered).map_or_else(fail, |result| result as isize)
            as c_int;
    }
    // SAFETY: `dlsym` found `real` by this name; the arguments are the program's own.
    unsafe {
        let real: Prctl = core::mem::transmute(real);
        real(option, second, third, fourth, fifth)
    }
}

/// Calls the real `dlclose`. Where it is not found, the library stays loaded, as POSIX permits:
/// if libdl, which has the function before glibc 2.34, was loaded later than this library.
pub(crate) fn dlclose(handle: *mut c_void, is_own: impl Fn(*const c_void) -> bool) -> c_int {
    let mut real = DLCLOSE.load(Ordering::Acquire);
    if real.is_null() {
        real = find_dlclose(is_own);
        DLCLOSE.store(real, Ordering::Release);
    }
    // SAFETY: null, which is `None`, or the function that `dlsym` found by this name.
    let real: Option<Dlclose> = unsafe { core::mem::transmute(real) };
    // SAFETY: the argument is the program's own.
    real.map_or(0, |real| unsafe { real(handle) })
}

#[cold]
fn find_dlclose(is_own: impl Fn(*const c_void) -> bool) -> *mut c_void {
    const NAME: &CStr = c"dlclose";
    let Some(dlsym) = dlsym() else { return core::ptr::null_mut() };
    // SAFETY: the name is a C string.
    let next = unsafe { dlsym(libc::RTLD_NEXT, NAME.as_ptr()) };
    if !next.is_null() && !is_own(next) {
        return next;
    }
    let libraries = [c"libc.so.6", c"libdl.so.2"];
    libraries.into_iter().find_map(|library| in_library(library, NAME)).unwrap_or_default()
}

/// Calls the real `syscall`.
pub(crate) fn syscall(number: isize, arguments: [usize; 3]) -> isize {
    let [first, second, third] = arguments;
    let real = SYSCALL.load(Ordering::Acquire);
    if real.is_null() {
        let arguments = [first, second, third, 0, 0];
        return sys::by_number(number as c_long, arguments)
            .map_or_else(fail, |result| result as isize);
    }
    // SAFETY: `dlsym` found `real` by this name; the arguments are the program's own.
    unsafe {
        let real: Syscall = core::mem::transmute(real);
        real(number as c_long, first, second, third) as isize
    }
}

/// Sets errno and returns -1.
fn fail(errno: Errno) -> isize {
    set_errno(errno.0);
    -1
}

pub(crate) fn errno() -> c_int {
    // SAFETY: this thread's errno, which libc keeps for as long as the thread runs.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: likewise.
    unsafe { *libc::__errno_location() = errno };
}

/// Converts the kernel's result to that of a C function. Sets errno on failure and leaves it alone
/// on success.
pub(crate) fn to_c(result: sys::Result) -> *mut c_void {
    match result {
        Ok(address) => address as *mut c_void,
        Err(errno) => fail(errno) as *mut c_void,
    }
}
