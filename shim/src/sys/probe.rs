//! Probes: system calls that cannot succeed, whose errno describes the address space. They change
//! nothing and need no `/proc`, no descriptor, and no system call but `mremap` and `mmap`.
//!
//! - A growth in place to an impossible length tells whether one VMA holds a range
//!   ([`is_one_vma`]).
//! - An `mmap` of a mapping type that does not exist tells whether a range is free ([`is_free`]).
//!
//! A seccomp filter may look at arguments and kill for flags that are rarely used. Under one,
//! probes have the flags of the program's own moves.

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::{Flags, Request};

use crate::process::address_space::{SMALLEST_TASK_SIZE, page_size};
use crate::process::seccomp;
use crate::sys::{self, Errno};

/// What [`is_one_vma`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OneVma {
    Yes,
    /// The range crosses a boundary or starts unmapped, or the VMA is of a kind for which the
    /// kernel always says so: `[vvar]`, `[vdso]`, device memory.
    No,
    /// The range starts in a VMA sealed by `mseal`, and no more can be found out.
    Sealed,
}

/// Lengths just below each `TASK_SIZE` of this architecture, largest first: no VMA can grow to
/// them.
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

/// Index of the largest length below this kernel's `TASK_SIZE`. Since 6.17 longer ones are
/// `EINVAL`.
static LENGTH: AtomicU8 = AtomicU8::new(0);

/// Whether one VMA holds `[start, start + len)`, by growing it in place to a length that cannot be.
/// The kernel checks the range first: `EFAULT` comes from there, `ENOMEM` (`EAGAIN` for locked
/// memory) from behind it (`vma_to_resize` before 6.17, `check_prep_vma` since).
pub(crate) fn is_one_vma(start: u64, len: u64) -> OneVma {
    let mut index = LENGTH.load(Ordering::Relaxed);
    while let Some(&new_len) = IMPOSSIBLE_LENGTHS.get(usize::from(index)) {
        // With `MREMAP_MAYMOVE` growth fails as surely: no hole is that large.
        let flags = if seccomp::is_filtered() { Flags::MAYMOVE } else { Flags(0) };
        let request = Request { old: start, old_len: len, new_len, flags, new: 0 };
        match sys::mremap(&request) {
            Err(Errno(libc::ENOMEM | libc::EAGAIN)) => {
                LENGTH.store(index, Ordering::Relaxed);
                return OneVma::Yes;
            }
            Err(Errno(libc::EINVAL)) => index += 1,
            Err(Errno(libc::EPERM)) => return OneVma::Sealed,
            _ => return OneVma::No,
        }
    }
    OneVma::No
}

/// Whether something is mapped in the page at `address`.
pub(crate) fn is_mapped(address: u64) -> bool {
    is_free(address, page_size()) == Ok(false)
}

/// Whether nothing is mapped in a range that ends below `TASK_SIZE`.
///
/// # Errors
/// `mmap` failed for another reason: a sandbox refuses it.
#[inline]
pub(crate) fn is_free(start: u64, len: u64) -> sys::Result<bool> {
    if seccomp::is_filtered() {
        return is_free_by_growth(start, len);
    }
    match sys::mmap_of_no_type(start, len) {
        Errno::EINVAL => Ok(true),
        Errno(libc::EEXIST) => Ok(false),
        _ => is_free_by_pages(start, len),
    }
}

/// The same under a filter, page by page. Memory whose growth is always `EFAULT` counts as free. Of
/// a long range only the beginning is probed so: a whole one could take minutes.
#[cold]
#[inline(never)]
fn is_free_by_growth(start: u64, len: u64) -> sys::Result<bool> {
    const MOST_PAGES: u64 = 4096;
    let page = page_size();
    let probed = len.min(MOST_PAGES * page);
    let mut address = start;
    while address < start + probed {
        if is_one_vma(address, page) != OneVma::No {
            return Ok(false);
        }
        address += page;
    }
    if probed == len { Ok(true) } else { is_free_by_pages(start + probed, len - probed) }
}

/// The same below `mmap_min_addr`, where `mmap` is refused before it looks at the range. Few pages
/// lie there.
#[cold]
#[inline(never)]
fn is_free_by_pages(mut start: u64, mut len: u64) -> sys::Result<bool> {
    let page = page_size();
    while len != 0 {
        match sys::mmap_of_no_type(start, len) {
            Errno(libc::EEXIST) => return Ok(false),
            // `EAGAIN`: the range is free, and too large to be locked as `mlockall` wants it.
            Errno(libc::EINVAL | libc::EAGAIN) => return Ok(true),
            Errno(libc::EPERM | libc::EACCES) => {
                if is_one_vma(start, page) != OneVma::No {
                    return Ok(false);
                }
                start += page;
                len -= page;
            }
            errno => return Err(errno),
        }
    }
    Ok(true)
}

/// `TASK_SIZE` is this much above the impossible length that belongs to it.
const ABOVE_IMPOSSIBLE_LENGTH: u64 =
    if cfg!(target_arch = "x86_64") { 65536 - 4096 } else { 65536 };

/// The lower of `end` and `TASK_SIZE`: nothing is mapped above, and [`is_free`] cannot probe there.
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
