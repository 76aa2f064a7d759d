//! The questions that change nothing, so that no `/proc`, no descriptor and no new system call is needed: a growth
//! in place that can never succeed ([`is_one_vma`], [`ends_at`]), and an `mmap` that never maps ([`is_free`]).

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::{Flags, Request};

use crate::process::address_space::{SMALLEST_TASK_SIZE, page_size};
use crate::sys::{self, Errno};

/// Answer of [`is_one_vma`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OneVma {
    Yes,
    /// Crosses a boundary, starts unmapped, or is a kind of VMA that always answers so (`[vvar]`, device
    /// memory).
    No,
    /// Starts in a sealed VMA (`mseal`), which answers nothing else.
    Sealed,
}

/// Lengths just below each `TASK_SIZE` of this architecture, largest first: nothing can ever grow to them.
#[cfg(target_arch = "x86_64")]
const IMPOSSIBLE_LENGTHS: [u64; 2] = [(1 << 56) - 65536, (1 << 47) - 65536];
#[cfg(not(target_arch = "x86_64"))]
const IMPOSSIBLE_LENGTHS: [u64; 6] = [
    (1 << 52) - 65536,
    (1 << 48) - 65536,
    (1 << 47) - 65536,
    (1 << 42) - 65536,
    (1 << 39) - 65536,
    (1 << 36) - 65536,
];

/// Index of the length this kernel does not call silly (`EINVAL`, since 6.17, when above `TASK_SIZE`).
static LENGTH: AtomicU8 = AtomicU8::new(0);

/// The errno of a growth to one of the impossible lengths; none when there is no such length.
fn growth(start: u64, len: u64, index: u8) -> Option<i32> {
    let result = sys::mremap(&Request {
        old: start,
        old_len: len,
        new_len: *IMPOSSIBLE_LENGTHS.get(usize::from(index))?,
        flags: Flags(0),
        new: 0,
    });
    Some(result.err().map_or(0, |errno| errno.0))
}

/// Asks to grow `[start, start + len)` in place to a length that cannot be. `ENOMEM` (`EAGAIN` for locked
/// memory) comes after the check that one VMA holds the range, `EFAULT` from it: `vma_to_resize` before
/// 6.17, `check_prep_vma` since.
pub(crate) fn is_one_vma(start: u64, len: u64) -> OneVma {
    let mut index = LENGTH.load(Ordering::Relaxed);
    while let Some(errno) = growth(start, len, index) {
        match errno {
            libc::ENOMEM | libc::EAGAIN => {
                LENGTH.store(index, Ordering::Relaxed);
                return OneVma::Yes;
            }
            libc::EINVAL => index += 1,
            libc::EPERM => return OneVma::Sealed,
            _ => return OneVma::No,
        }
    }
    OneVma::No
}

/// Questions asked in one move, and how many they were.
#[derive(Default)]
pub(crate) struct Asked(u32);

impl Asked {
    pub(crate) fn count(&self) -> u32 {
        self.0
    }

    /// Whether one VMA holds a range, one that answers and can be moved.
    pub(crate) fn is_one_vma(&mut self, start: u64, len: u64) -> bool {
        self.0 += 1;
        is_one_vma(start, len) == OneVma::Yes
    }

    /// What answers in the page at `start`.
    pub(crate) fn what_is_at(&mut self, start: u64) -> OneVma {
        self.0 += 1;
        is_one_vma(start, page_size())
    }

    /// [`ends_at`]
    pub(crate) fn ends_at(&mut self, end: u64) -> bool {
        self.0 += 1;
        ends_at(end)
    }

    /// [`is_free`]
    #[inline]
    pub(crate) fn is_free(&mut self, start: u64, len: u64) -> Result<bool, Errno> {
        self.0 += 1;
        is_free(start, len)
    }
}

/// Whether no VMA that answers such questions reaches from the page below `end` to the page behind it.
fn ends_at(end: u64) -> bool {
    let page = page_size();
    growth(end - page, 2 * page, LENGTH.load(Ordering::Relaxed)) == Some(libc::EFAULT)
}

/// Whether something is mapped in the page at `address`.
pub(crate) fn is_mapped(address: u64) -> bool {
    sys::mmap_of_no_type(address, page_size()) == Errno(libc::EEXIST)
}

/// Whether nothing is mapped in a range that ends below `TASK_SIZE`.
#[inline]
fn is_free(start: u64, len: u64) -> Result<bool, Errno> {
    let Errno(errno) = sys::mmap_of_no_type(start, len);
    if errno == libc::EINVAL {
        Ok(true)
    } else if errno == libc::EEXIST {
        Ok(false)
    } else {
        is_free_by_pages(start, len)
    }
}

/// Where `mmap` gives no such answer. Below `mmap_min_addr` nobody without the right may ask it; few pages lie there.
#[cold]
#[inline(never)]
fn is_free_by_pages(mut start: u64, mut len: u64) -> Result<bool, Errno> {
    let page = page_size();
    while len != 0 {
        match sys::mmap_of_no_type(start, len) {
            Errno(libc::EEXIST) => return Ok(false),
            Errno(libc::EINVAL | libc::EAGAIN) => return Ok(true),
            Errno(libc::EPERM | libc::EACCES) => {
                if is_one_vma(start, page) != OneVma::No {
                    return Ok(false);
                }
                start += page;
                len -= page;
            }
            failed => return Err(failed),
        }
    }
    Ok(true)
}

/// `TASK_SIZE` is this much above the length that nothing can grow to.
const ABOVE_IMPOSSIBLE_LENGTH: u64 =
    if cfg!(target_arch = "x86_64") { 65536 - 4096 } else { 65536 };

/// `end`, or `TASK_SIZE` where that is lower: nothing is mapped behind it, and `mmap` cannot be asked there.
#[inline]
pub(crate) fn below_task_size(end: u64) -> u64 {
    if end <= SMALLEST_TASK_SIZE { end } else { end.min(task_size().unwrap_or(end)) }
}

#[cold]
fn task_size() -> Option<u64> {
    let page = page_size();
    let mut limits = IMPOSSIBLE_LENGTHS.iter().map(|len| len + ABOVE_IMPOSSIBLE_LENGTH);
    limits.find(|limit| sys::mmap_of_no_type(limit - page, page) != Errno(libc::ENOMEM))
}
