//! Temporary mappings of a thread under a seccomp filter, by `mmap` and `mremap` with flags
//! that the program uses itself: a filter may look at flags, and `munmap` may not be allowed.

use crate::process::address_space::page_size;
use crate::sys;
use crate::sys::cell::{LARGEST_PAGE, OwnPages};

/// A page is unmapped by moving it here.
static SINK: OwnPages<LARGEST_PAGE> = OwnPages::new();

/// Maps `[start, start + len)` if it is free. The kernel takes the address as a hint, and maps
/// elsewhere if it is not.
pub(crate) fn map_at(start: usize, len: usize) -> bool {
    match sys::map_untouched(start, len, 0) {
        Ok(mapped) if mapped == start => true,
        Ok(elsewhere) => {
            unmap(elsewhere, len);
            false
        }
        Err(_) => false,
    }
}

/// Whether [`map_at`] can map a range.
pub(crate) fn can_map(start: u64, len: u64) -> bool {
    let (start, len) = (start as usize, len as usize);
    let is_mapped = map_at(start, len);
    if is_mapped {
        unmap(start, len);
    }
    is_mapped
}

/// Unmaps what [`map_at`] has mapped: all but a page by shrinking it, and that page by moving it
/// over a page of ours.
pub(crate) fn unmap(start: usize, len: usize) {
    let page = page_size() as usize;
    if len > page {
        let _ = sys::shrink(start, len, page);
    }
    let _ = sys::move_over(start, page, SINK.start());
}
