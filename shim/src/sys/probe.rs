//! Probes: system calls that cannot succeed, whose errno describes the address space. They change
//! nothing and need no `/proc`, no descriptor, and no system call but `mremap` and `mmap`.
//!
//! - A growth to an impossible length shows whether one VMA holds a range ([`is_one_vma`]).
//! - An `mmap` of a mapping type that does not exist shows whether a range is free ([`is_free`]).
//!   A seccomp filter may kill for its flags, and some kernels look at the type first: there the
//!   range is mapped for an instant.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use mremap_plan::{Flags, Request};

use crate::process::address_space::{SMALLEST_TASK_SIZE, page_size};
use crate::process::seccomp;
use crate::sys::{self, Errno, scratch};

/// What [`is_one_vma`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OneVma {
    Yes,
    /// The range crosses a boundary or starts unmapped, or the VMA is of a kind for which the
    /// kernel always returns `EFAULT`: `[vvar]`, `[vdso]`, device memory.
    No,
    /// The range starts in a VMA sealed by `mseal`; its length is unknown.
    Sealed,
}

/// Lengths just below each `TASK_SIZE` of this architecture, largest first: no VMA can grow to
/// them.
#[cfg(target_arch = "x86_64")]
const LENGTHS_BELOW_TASK_SIZE: [u64; 2] = [(1 << 56) - 65536, (1 << 47) - 65536];
#[cfg(not(target_arch = "x86_64"))]
const LENGTHS_BELOW_TASK_SIZE: [u64; 6] = [
    (1 << 52) - 65536,
    (1 << 48) - 65536,
    (1 << 47) - 65536,
    (1 << 42) - 65536,
    (1 << 39) - 65536,
    (1 << 36) - 65536,
];

/// The length that [`grow`] asks for; 0 until it is chosen.
static IMPOSSIBLE_LENGTH: AtomicU64 = AtomicU64::new(0);

/// Chooses a length for which this kernel examines the VMA, by trying it on a page of ours.
///
/// The largest length exceeds even an unlimited `RLIMIT_AS`, which the kernel checks before it
/// charges a growth to the commit limit. Since 6.17 lengths beyond `TASK_SIZE` are `EINVAL`, and
/// the others charge it for an instant.
#[cold]
fn choose_length() -> u64 {
    let page = page_size();
    let own = (&raw const IMPOSSIBLE_LENGTH).addr() as u64 & !(page - 1);
    let below_task_size = LENGTHS_BELOW_TASK_SIZE.into_iter();
    for length in core::iter::once(page.wrapping_neg()).chain(below_task_size) {
        if matches!(grow_to(own, page, length), Errno(libc::ENOMEM | libc::EAGAIN)) {
            IMPOSSIBLE_LENGTH.store(length, Ordering::Relaxed);
            return length;
        }
    }
    SMALLEST_TASK_SIZE
}

/// The errno of a growth that cannot succeed.
#[inline]
fn grow(start: u64, len: u64) -> Errno {
    let known = IMPOSSIBLE_LENGTH.load(Ordering::Relaxed);
    grow_to(start, len, if known == 0 { choose_length() } else { known })
}

fn grow_to(start: u64, len: u64, new_len: u64) -> Errno {
    // A filter may admit no call without this flag, which makes 6.17 and later search for a hole of
    // this size.
    let flags = if seccomp::is_filtered() { Flags::MAYMOVE } else { Flags(0) };
    let request = Request { old: start, old_len: len, new_len, flags, new: 0 };
    sys::mremap(&request).err().unwrap_or(Errno(0))
}

/// Whether one VMA holds `[start, start + len)`. The kernel checks the range first: `EFAULT` comes
/// from there, `ENOMEM` (`EAGAIN` for locked memory) from the later check of the length
/// (`vma_to_resize` before 6.17, `check_prep_vma` since).
#[inline]
pub(crate) fn is_one_vma(start: u64, len: u64) -> OneVma {
    match grow(start, len) {
        Errno(libc::ENOMEM | libc::EAGAIN) => OneVma::Yes,
        Errno(libc::EPERM) => OneVma::Sealed,
        _ => OneVma::No,
    }
}

/// Whether a huge page of hugetlbfs is mapped at `start`, its first address: an address inside one
/// is `EINVAL`.
pub(crate) fn is_huge(start: u64) -> bool {
    grow(start + page_size(), page_size()) == Errno::EINVAL
}

/// Whether an `mmap` of no type sees what is mapped: 0 if not tried, else [`SEES`] or [`IS_BLIND`].
static NO_TYPE_PROBE: AtomicU8 = AtomicU8::new(0);
const SEES: u8 = 1;
const IS_BLIND: u8 = 2;

/// Whether [`is_free`] can ask without mapping anything. Linux before 4.17, which does not know
/// `MAP_FIXED_NOREPLACE`, and gVisor refuse the type before they look at the range.
#[inline]
pub(crate) fn sees_mappings() -> bool {
    match NO_TYPE_PROBE.load(Ordering::Relaxed) {
        0 => try_no_type(),
        known => known == SEES,
    }
}

/// Tries the probe on a page of ours.
#[cold]
fn try_no_type() -> bool {
    let page = page_size();
    let own = (&raw const NO_TYPE_PROBE).addr() as u64 & !(page - 1);
    let sees = sys::mmap_of_no_type(own, page) != Errno::EINVAL;
    NO_TYPE_PROBE.store(if sees { SEES } else { IS_BLIND }, Ordering::Relaxed);
    sees
}

/// Whether something is mapped in the page at `address`.
pub(crate) fn is_mapped(address: u64) -> bool {
    is_free(address, page_size()) == Ok(false)
}

/// Whether nothing is mapped in a range that ends below `TASK_SIZE`.
///
/// # Errors
/// `mmap` failed for another reason: a filter refuses it.
#[inline]
pub(crate) fn is_free(start: u64, len: u64) -> sys::Result<bool> {
    if seccomp::is_filtered() {
        return Ok(is_free_by_mapping(start, len));
    }
    match sys::mmap_of_no_type(start, len) {
        Errno::EINVAL if sees_mappings() => Ok(true),
        Errno::EINVAL => Ok(is_free_by_mapping(start, len)),
        Errno(libc::EEXIST) => Ok(false),
        _ => is_free_by_pages(start, len),
    }
}

/// As [`is_free`], in a filtered thread or where the probe is blind. A long range is mapped for an
/// instant. The kernel takes its address as a hint, but not within 256 pages below a stack: there,
/// and in a short range, each page is probed, and memory whose growth is always `EFAULT` counts as
/// free.
#[cold]
#[inline(never)]
fn is_free_by_mapping(start: u64, len: u64) -> bool {
    let page = page_size();
    let near = len.min(256 * page);
    let far = len - near;
    if far != 0 && scratch::can_map(start, len) {
        return true;
    }
    (far == 0 || scratch::can_map(start, far))
        && (0..near >> page.trailing_zeros())
            .all(|index| grow(start + far + index * page, page) == Errno::EFAULT)
}

/// As [`is_free`], below `mmap_min_addr`, where `mmap` fails before it looks at the range. There
/// are few such pages.
#[cold]
#[inline(never)]
fn is_free_by_pages(mut start: u64, mut len: u64) -> sys::Result<bool> {
    let page = page_size();
    while len != 0 {
        match sys::mmap_of_no_type(start, len) {
            Errno(libc::EEXIST) => return Ok(false),
            // `EAGAIN`: the range is free, and too large to be locked as `mlockall` wants it.
            Errno(libc::EINVAL | libc::EAGAIN) => {
                return Ok(sees_mappings() || is_free_by_mapping(start, len));
            }
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

/// The lower of a range's end and `TASK_SIZE`: nothing is mapped above, and [`is_free`] cannot
/// probe there.
#[inline]
pub(crate) fn below_task_size(start: u64, end: u64) -> u64 {
    if end <= SMALLEST_TASK_SIZE {
        end
    } else if seccomp::is_filtered() || !sees_mappings() {
        if start < SMALLEST_TASK_SIZE { SMALLEST_TASK_SIZE } else { end }
    } else {
        end.min(task_size().unwrap_or(end))
    }
}

#[cold]
fn task_size() -> Option<u64> {
    let page = page_size();
    let mut limits = LENGTHS_BELOW_TASK_SIZE.iter().map(|len| len + ABOVE_IMPOSSIBLE_LENGTH);
    limits.find(|limit| sys::mmap_of_no_type(limit - page, page) != Errno(libc::ENOMEM))
}
