//! Whether this kernel has the multi-VMA move: tried once, on pages of the tracer's own.

use mremap_trace::Capability;

/// Tries the move of two VMAs. A trial that cannot be made leaves [`Capability::Unknown`]:
/// emulating is right on every kernel.
///
/// ```text
///   r--  rw-  free free   --->   free free  r--  rw-
/// ```
pub(crate) fn of_kernel() -> Capability {
    let page = page_size();
    // SAFETY: reserves pages that nothing else refers to; only they are changed, and then unmapped.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let base = libc::mmap(std::ptr::null_mut(), 4 * page, libc::PROT_READ, flags, -1, 0);
        if base == libc::MAP_FAILED {
            return Capability::Unknown;
        }
        let target = base.byte_add(2 * page);
        let is_set_up = libc::mprotect(base, page, libc::PROT_READ | libc::PROT_WRITE) == 0
            && libc::munmap(target, 2 * page) == 0;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let found =
            match is_set_up && libc::mremap(base, 2 * page, 2 * page, flags, target) == target {
                _ if !is_set_up => Capability::Unknown,
                true => Capability::MultiVma,
                false => Capability::OneVma,
            };
        libc::munmap(base, 4 * page);
        found
    }
}

/// Bytes of a page.
pub(crate) fn page_size() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// `TASK_SIZE`, as `mremap` checks it. It is larger than the architecture's smallest if this kernel
/// maps there when asked to (5-level page tables).
pub(crate) fn task_size() -> u64 {
    #[cfg(target_arch = "x86_64")]
    const CANDIDATES: [u64; 2] = [(1 << 56) - 4096, (1 << 47) - 4096];
    #[cfg(target_arch = "aarch64")]
    const CANDIDATES: [u64; 6] = [1 << 52, 1 << 48, 1 << 47, 1 << 42, 1 << 39, 1 << 36];
    let page = page_size();
    let is_below_task_size = |end: &u64| {
        // SAFETY: an `mmap` that is neither shared nor private maps nothing. `ENOMEM` says that the
        // address is beyond `TASK_SIZE`.
        unsafe {
            libc::mmap(
                (end - page as u64) as *mut libc::c_void,
                page,
                libc::PROT_NONE,
                libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            );
        }
        std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOMEM)
    };
    CANDIDATES.into_iter().find(is_below_task_size).unwrap_or(CANDIDATES[CANDIDATES.len() - 1])
}
