//! The compared calls of `mremap`: by symbol, which a preload library interposes, by libc's own
//! function, and as a bare system call. Also the system calls of the methods to find VMAs.

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;

use anyhow::{Context as _, Result};
use mremap_plan::procmap::{PROCMAP_QUERY, ProcmapQuery};
use syscalls::{Sysno, raw_syscall};

/// Flags of a move.
const MOVE: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;

/// The type of libc's function.
type Mremap = unsafe extern "C" fn(*mut c_void, usize, usize, c_int, ...) -> *mut c_void;

/// How `mremap` is called.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// By symbol, like any program.
    Symbol,
    /// By libc's own function.
    Libc(Mremap),
    /// The system call instruction, inlined.
    Inline,
}

impl Call {
    /// libc's own function, even if another library interposes it.
    ///
    /// # Panics
    /// The process has no `libc.so.6`.
    pub fn libc() -> Self {
        Self::of_loaded(c"libc.so.6").expect("this process has a libc.so.6 with an mremap")
    }

    /// A preloaded library's function.
    ///
    /// # Errors
    /// The library is not loaded, or has no `mremap`.
    pub fn of_library(library: &Path) -> Result<Self> {
        let name = CString::new(library.as_os_str().as_encoded_bytes())?;
        Self::of_loaded(&name)
            .with_context(|| format!("{}: not preloaded, or has no mremap", library.display()))
    }

    fn of_loaded(library: &CStr) -> Option<Self> {
        // SAFETY: both names are C strings; the library stays loaded.
        let found = unsafe {
            let handle = libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if handle.is_null() {
                return None;
            }
            libc::dlsym(handle, c"mremap".as_ptr())
        };
        // SAFETY: `mremap` is a function of this type.
        (!found.is_null())
            .then(|| Self::Libc(unsafe { std::mem::transmute::<*mut c_void, Mremap>(found) }))
    }

    /// Moves `[old, old + len)` to `new`.
    ///
    /// # Panics
    /// The kernel refused the move.
    #[inline]
    pub fn move_range(self, old: usize, len: usize, new: usize) {
        let result = self.call(old, len, len, MOVE, new);
        assert!(result == new as isize, "moving {len} bytes from {old:#x} to {new:#x}: {result}");
    }

    /// Calls `mremap`. Returns an address, or -1 (by a function) or `-errno` (inline).
    #[inline]
    pub fn call(self, old: usize, old_len: usize, new_len: usize, flags: i32, new: usize) -> isize {
        let (from, to) = (old as *mut c_void, new as *mut c_void);
        // SAFETY: the bench owns the mappings and keeps no reference into them.
        unsafe {
            match self {
                Self::Symbol => libc::mremap(from, old_len, new_len, flags, to) as isize,
                Self::Libc(function) => function(from, old_len, new_len, flags, to) as isize,
                Self::Inline => {
                    raw_syscall!(Sysno::mremap, old, old_len, new_len, flags, new) as isize
                }
            }
        }
    }
}

/// Opens this process's maps, for [`close`].
///
/// # Panics
/// There is no `/proc`.
pub fn open_maps() -> i32 {
    let path = c"/proc/thread-self/maps";
    // SAFETY: passes a C string.
    let fd =
        unsafe { raw_syscall!(Sysno::openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY, 0) }
            as i32;
    assert!(fd >= 0, "/proc/thread-self/maps cannot be opened");
    fd
}

/// Closes a descriptor of this module.
pub fn close(fd: i32) {
    // SAFETY: the bench's own descriptor.
    unsafe { raw_syscall!(Sysno::close, fd) };
}

/// Start and end of the VMA at `address` or next above it. Its name is written to `name`.
pub fn vma_at_or_above(fd: i32, address: usize, name: &mut [u8]) -> Option<(usize, usize)> {
    let name_at = if name.is_empty() { 0 } else { name.as_mut_ptr().addr() as u64 };
    let mut query = ProcmapQuery::at_or_above(address as u64, name_at, name.len() as u32);
    // SAFETY: the kernel writes to the query and to the name's buffer.
    let failed = unsafe { raw_syscall!(Sysno::ioctl, fd, PROCMAP_QUERY, &raw mut query) } as isize;
    (failed == 0).then_some((query.vma_start as usize, query.vma_end as usize))
}

/// Whether nothing is mapped in a range: an `mmap` that never maps says so.
pub fn is_free(start: usize, len: usize) -> bool {
    const NO_TYPE: i32 = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping type that does not exist: nothing is ever mapped.
    let answer =
        unsafe { raw_syscall!(Sysno::mmap, start, len, libc::PROT_NONE, NO_TYPE, -1i32, 0) }
            as isize;
    answer == -(libc::EINVAL as isize)
}

/// Reads the next bytes of a file; `None` at its end.
pub fn read(fd: i32, into: &mut [u8]) -> Option<&[u8]> {
    // SAFETY: the kernel writes to the buffer.
    let count = unsafe { raw_syscall!(Sysno::read, fd, into.as_mut_ptr(), into.len()) } as isize;
    usize::try_from(count).ok().filter(|&count| count > 0).map(|count| &into[..count])
}
