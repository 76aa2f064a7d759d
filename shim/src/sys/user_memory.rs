//! Memory accessed by the kernel, which returns `EFAULT` where a load or store would raise `SIGBUS`
//! or `SIGSEGV`: beyond the end of a truncated file, on a full disk, in a guard page.

use syscalls::{Sysno, raw_syscall};

use super::{Result, from_raw};

/// Adds `count` to the word at an address, atomically.
///
/// # Errors
/// `EFAULT` where the word cannot be stored to. A file's page is allocated first if it has none.
pub(crate) fn add(word: *mut u32, count: u32) -> Result {
    /// `FUTEX_OP(FUTEX_OP_ADD, count, FUTEX_OP_CMP_EQ, 0)`: 12 bits are for the operand.
    const ADD: u32 = 1 << 28;
    let operation = ADD | (count & 0xfff) << 12;
    let wake_none = 0;
    // SAFETY: the kernel adds to the word, or returns an error. No thread is woken.
    from_raw(unsafe {
        raw_syscall!(
            Sysno::futex,
            word,
            libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG,
            wake_none,
            wake_none,
            word,
            operation
        )
    })
}

/// Makes sure that a page can be stored to, and changes none of its bytes. `address` is a multiple
/// of 4.
///
/// # Errors
/// As for [`add`].
pub(crate) fn touch(address: usize) -> Result {
    add(address as *mut u32, 0)
}

/// Whether eight bytes can be loaded from an address. `rt_sigprocmask` reads its set before it
/// refuses what to do with it.
pub(crate) fn can_load(address: usize) -> bool {
    const NOTHING_TO_DO: i32 = i32::MAX;
    // SAFETY: the kernel reads eight bytes, or returns `EFAULT`. No signal is blocked or unblocked.
    let refused =
        from_raw(unsafe { raw_syscall!(Sysno::rt_sigprocmask, NOTHING_TO_DO, address, 0, 8) });
    refused == Err(super::Errno(libc::EINVAL))
}

/// Allocates the pages of a file's mapping, if the kernel knows how (5.14).
///
/// # Errors
/// `EINVAL` before 5.14. Else the pages before the first one that cannot be allocated are there.
pub(crate) fn populate(address: usize, len: usize) -> Result {
    super::madvise(address, len, libc::MADV_POPULATE_WRITE)
}

/// Grows a mapping in place, without a descriptor of its file.
///
/// # Errors
/// `ENOMEM`: the mapping is not exactly `[address, address + old_len)`, what follows it is not
/// free, or `RLIMIT_AS` forbids it. `EAGAIN`: it is locked, and `RLIMIT_MEMLOCK` forbids it.
pub(crate) fn grow_in_place(address: usize, old_len: usize, new_len: usize) -> Result {
    let flags = 0;
    // SAFETY: adds pages to a mapping that the caller owns, and moves nothing.
    from_raw(unsafe { raw_syscall!(Sysno::mremap, address, old_len, new_len, flags) })
}
