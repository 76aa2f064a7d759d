//! Works with files in a descriptor table that the program does not share.
//!
//! In the program's table, another thread could close a descriptor of this library between two
//! system calls and reuse its number. A `vfork` child has a table of its own, and shares the
//! memory, so that it can map files for its parent.

use core::ffi::c_void;

use syscalls::{Sysno, raw_syscall};

use super::{Errno, Result, from_raw};

/// Runs `work` in a `vfork` child, whose descriptors are copies. The calling thread waits for it,
/// with its signals blocked by the caller. Takes 12 us.
///
/// # Errors
/// `EAGAIN` or another errno of `clone`: `work` did not run.
pub(crate) fn with_own_descriptors<T, W: FnOnce() -> T>(work: W) -> Result<T> {
    let mut job = Job { work: Some(work), done: None };
    // SAFETY: `run` is called with the address of `job` while this function waits for it.
    let child = unsafe { clone(run::<T, W>, (&raw mut job).cast()) };
    let child = from_raw(child as usize)?;
    // The child has no exit signal, so that only `__WALL` waits for it.
    while let Err(Errno(libc::EINTR)) = wait_for(child) {}
    job.done.ok_or(Errno(libc::ECHILD))
}

struct Job<T, W> {
    work: Option<W>,
    done: Option<T>,
}

unsafe extern "C" fn run<T, W: FnOnce() -> T>(job: *mut c_void) {
    // SAFETY: the address of a job that its owner does not use until this returns.
    let job = unsafe { &mut *job.cast::<Job<T, W>>() };
    job.done = job.work.take().map(|work| work());
}

fn wait_for(child: usize) -> Result {
    // SAFETY: waits; no status is stored.
    from_raw(unsafe { raw_syscall!(Sysno::wait4, child, 0, libc::__WALL, 0) })
}

/// The child shares the memory, and the parent waits until it has ended.
const FLAGS: i32 = libc::CLONE_VM | libc::CLONE_VFORK;

/// Clones the calling process, and calls `work` in the child, which then exits. The child uses the
/// stack below this function's frame. Returns the child's process id, or -errno.
///
/// # Safety
/// `work` may be called with `argument`, in another process that shares this one's memory.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn clone(
    work: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
) -> isize {
    core::arch::naked_asm!(
        "mov r8, rdi",
        "mov r9, rsi",
        "mov edi, {flags}",
        "xor esi, esi",
        "xor edx, edx",
        "xor r10d, r10d",
        "mov eax, {clone}",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        "push rbp",
        "mov rdi, r9",
        "call r8",
        "xor edi, edi",
        "mov eax, {exit}",
        "syscall",
        "ud2",
        flags = const FLAGS,
        clone = const libc::SYS_clone,
        exit = const libc::SYS_exit_group,
    );
}

/// The same on arm64.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn clone(
    work: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
) -> isize {
    core::arch::naked_asm!(
        "mov x9, x0",
        "mov x10, x1",
        "mov x0, {flags}",
        "mov x1, xzr",
        "mov x2, xzr",
        "mov x3, xzr",
        "mov x4, xzr",
        "mov x8, {clone}",
        "svc 0",
        "cbz x0, 2f",
        "ret",
        "2:",
        "mov x0, x10",
        "blr x9",
        "mov x0, xzr",
        "mov x8, {exit}",
        "svc 0",
        "brk 1",
        flags = const FLAGS,
        clone = const libc::SYS_clone,
        exit = const libc::SYS_exit_group,
    );
}
