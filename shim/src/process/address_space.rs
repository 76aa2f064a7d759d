//! Page size, and the end of user space.

use core::sync::atomic::{AtomicUsize, Ordering};

use mremap_plan::{AddressSpace, Request};

use crate::process::seccomp;
use crate::sys::{self, Errno};

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a page.
pub(crate) fn page_size() -> u64 {
    let known = PAGE_SIZE.load(Ordering::Relaxed);
    if known != 0 {
        return known as u64;
    }
    // SAFETY: no preconditions. The auxiliary vector is complete before any code of the program
    // runs.
    let page = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    PAGE_SIZE.store(page, Ordering::Relaxed);
    page as u64
}

/// The smallest `TASK_SIZE` of this architecture.
pub(crate) const SMALLEST_TASK_SIZE: u64 =
    if cfg!(target_arch = "x86_64") { (1 << 47) - 4096 } else { 1 << 36 };

/// The smallest address space that this architecture has.
pub(crate) fn smallest() -> AddressSpace {
    AddressSpace { page_size: page_size(), task_size: SMALLEST_TASK_SIZE }
}

/// The address space to judge a request by. The kernel's own `TASK_SIZE` matters, and is probed,
/// only when the destination ends beyond the smallest one. A filter may kill for the probe.
pub(crate) fn for_request(request: &Request) -> AddressSpace {
    let space = smallest();
    let len = space.page_align(request.new_len);
    let end = request.new.saturating_add(len);
    if len == 0 || end <= SMALLEST_TASK_SIZE || seccomp::is_filtered() {
        return space;
    }
    let at = |start, len| sys::mmap_of_no_type(start, len);
    // At the map-count limit the kernel answers `ENOMEM` for every address: compare with one below
    // the limit.
    let is_beyond = match at(request.new & !(space.page_size - 1), len) {
        Errno(libc::EEXIST | libc::EINVAL | libc::EAGAIN) => false,
        Errno(libc::ENOMEM) => {
            at(SMALLEST_TASK_SIZE - space.page_size, space.page_size) != Errno(libc::ENOMEM)
        }
        Errno(_) => true,
    };
    if is_beyond {
        return space;
    }
    AddressSpace { task_size: end, ..space }
}
