//! Finds the VMAs of a range, by what the process can still do: ask [`procmap`], read [`maps`], or find the
//! boundaries with [`bisect`], which needs nothing but `mremap` and `mmap`.

mod bisect;
mod maps;
mod procmap;
pub(crate) mod userfaultfd;

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

use mremap_plan::{AddressSpace, Backing, Request, Vma, VmaSource};

pub(crate) use bisect::{OneVma, is_one_vma};

use crate::config;
use crate::sys::{self, Failed};

/// `/proc/self` is empty once the leading thread has exited; this one is not.
const MAPS: &CStr = c"/proc/thread-self/maps";
/// The same with details, which walks page tables.
const SMAPS: &CStr = c"/proc/thread-self/smaps";

/// Where the VMAs of one move come from. The reader's buffers stand in it: there is no heap to put them on.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Source {
    Query(procmap::Query),
    Maps(maps::Reader),
    Smaps(maps::Reader),
    Bisect(bisect::Bisection),
}

impl Source {
    /// The best source that works here and now, or the one the settings name. A source that cannot be had
    /// gives way to bisection, which always can.
    pub(crate) fn open() -> Self {
        if userfaultfd::is_possible()
            && let Ok(fd) = sys::open(SMAPS, libc::O_RDONLY, 0)
        {
            return Self::Smaps(maps::Reader::new(fd));
        }
        let wanted = config::vma_source();
        if wanted != config::VmaSource::Bisect
            && let Ok(fd) = sys::open(MAPS, libc::O_RDONLY, 0)
        {
            if wanted != config::VmaSource::Maps && procmap::works_on(fd) {
                return Self::Query(procmap::Query::new(fd));
            }
            if wanted != config::VmaSource::Query {
                return Self::Maps(maps::Reader::new(fd));
            }
            sys::close(fd);
        }
        Self::last_resort()
    }

    /// The source that asks for nothing a sandbox could refuse.
    pub(crate) fn last_resort() -> Self {
        Self::Bisect(bisect::Bisection)
    }

    /// As the trace names it.
    pub(crate) fn number(&self) -> u32 {
        match self {
            Self::Query(_) => 1,
            Self::Maps(_) => 2,
            Self::Bisect(_) => 3,
            Self::Smaps(_) => 4,
        }
    }

    /// Forgets what was read ahead: the address space has changed under it.
    pub(crate) fn restart(&mut self) {
        if let Self::Maps(_) | Self::Smaps(_) = self {
            *self = Self::open();
        }
    }
}

impl VmaSource for Source {
    type Error = Failed;

    fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<Vma>, Failed> {
        match self {
            Self::Query(query) => query.next_vma(from, until),
            Self::Maps(reader) => reader.next_vma(from, until, maps::Detail::None),
            Self::Smaps(reader) => reader.next_vma(from, until, maps::Detail::Flags),
            Self::Bisect(bisection) => bisection.next_vma(from, until),
        }
    }
}

/// Settles what a name alone does not tell: ramfs places its own mappings, the other file systems without
/// a block device (tmpfs, overlayfs, btrfs, NFS) do not.
fn settle_backing(mut vma: Vma, path: &[u8]) -> Vma {
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    if vma.backing == Backing::UnnumberedFile {
        let mut buffer = [0u8; 256];
        let on_ramfs = path.len() < buffer.len() && path.first() == Some(&b'/') && {
            buffer[..path.len()].copy_from_slice(path);
            CStr::from_bytes_until_nul(&buffer).is_ok_and(|path| sys::file_system(path) == Ok(RAMFS_MAGIC))
        };
        vma.backing = if on_ramfs {
            Backing::PlacedByDriver
        } else {
            Backing::Movable
        };
    }
    vma
}

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

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
const SMALLEST_TASK_SIZE: u64 = if cfg!(target_arch = "x86_64") {
    (1 << 47) - 4096
} else {
    1 << 39
};

/// The limits that a request is judged by. Only a destination near or beyond the smallest `TASK_SIZE`
/// makes us ask the kernel for its own.
pub(crate) fn address_space_for(request: &Request) -> AddressSpace {
    let space = AddressSpace {
        page_size: page_size(),
        task_size: SMALLEST_TASK_SIZE,
    };
    let len = space.page_align(request.new_len);
    let end = request.new.saturating_add(len);
    if len == 0 || end <= SMALLEST_TASK_SIZE {
        return space;
    }
    match sys::mmap_that_never_maps(request.new & !(space.page_size - 1), len) {
        Failed(libc::EEXIST | libc::EINVAL | libc::EAGAIN) => AddressSpace {
            task_size: end,
            ..space
        },
        Failed(_) => space,
    }
}
