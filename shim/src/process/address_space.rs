//! What there is of addresses here: the size of a page, and where user space ends.

use core::sync::atomic::{AtomicUsize, Ordering};

use mremap_plan::{AddressSpace, Request};

use crate::sys::{self, Errno};

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a page.
pub(crate) fn page_size() -> u64 {
    let known = PAGE_SIZE.load(Ordering::Relaxed);
    if known != 0 {
        return known as u64;
    }
    // SAFETY: reads the auxiliary vector, which is there before any code of the program runs.
    let page = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    PAGE_SIZE.store(page, Ordering::Relaxed);
    page as u64
}

/// Every `TASK_SIZE` of this architecture is at least this.
pub(crate) const SMALLEST_TASK_SIZE: u64 =
    if cfg!(target_arch = "x86_64") { (1 << 47) - 4096 } else { 1 << 36 };

/// What is true of every kernel of this architecture.
pub(crate) fn smallest() -> AddressSpace {
    AddressSpace { page_size: page_size(), task_size: SMALLEST_TASK_SIZE }
}

/// The limits that a request is judged by. Only a destination near or beyond the smallest `TASK_SIZE`
/// makes us ask the kernel for its own.
pub(crate) fn for_request(request: &Request) -> AddressSpace {
    let space = smallest();
    let len = space.page_align(request.new_len);
    let end = request.new.saturating_add(len);
    if len == 0 || end <= SMALLEST_TASK_SIZE {
        return space;
    }
    let at = |start, len| sys::mmap_of_no_type(start, len);
    // `ENOMEM` is also what the kernel says about every address once there are as many mappings as may be.
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
