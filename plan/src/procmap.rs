//! `PROCMAP_QUERY`, an ioctl on `/proc/PID/maps` since Linux 6.11: request and reply. The layout is
//! that of `struct procmap_query` in `include/uapi/linux/fs.h`.

use crate::vma::{Backing, Protection, Range, Vma};

/// `_IOWR('f', 17, struct procmap_query)`.
pub const PROCMAP_QUERY: u32 = 0xc068_6611;
const COVERING_OR_NEXT_VMA: u64 = 0x10;
const FILE_BACKED_VMA: u64 = 0x20;

/// `struct procmap_query`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs)] // the names are the kernel's
pub struct ProcmapQuery {
    pub size: u64,
    pub query_flags: u64,
    pub query_addr: u64,
    pub vma_start: u64,
    pub vma_end: u64,
    pub vma_flags: u64,
    pub vma_page_size: u64,
    pub vma_offset: u64,
    pub inode: u64,
    pub dev_major: u32,
    pub dev_minor: u32,
    pub vma_name_size: u32,
    pub build_id_size: u32,
    pub vma_name_addr: u64,
    pub build_id_addr: u64,
}

const _: () = assert!(size_of::<ProcmapQuery>() == 0x68);

impl ProcmapQuery {
    /// Makes a request for the VMA that holds `address` or is the next one above. The kernel writes
    /// the name to `name_size` bytes at `name_addr`; 0 and 0 for no name.
    pub fn at_or_above(address: u64, name_addr: u64, name_size: u32) -> Self {
        Self {
            size: size_of::<Self>() as u64,
            query_flags: COVERING_OR_NEXT_VMA,
            query_addr: address,
            vma_name_addr: name_addr,
            vma_name_size: name_size,
            ..Self::default()
        }
    }

    /// Limits the request to mappings of files.
    #[must_use]
    pub fn of_files_only(mut self) -> Self {
        self.query_flags |= FILE_BACKED_VMA;
        self
    }

    /// Returns the reply as a VMA. `name` is what the kernel wrote, its final NUL included.
    /// included.
    pub fn vma(&self, name: &[u8]) -> Vma {
        let flag = |bit: u64| self.vma_flags & bit != 0;
        let shared = flag(8);
        let length = (self.vma_name_size as usize).saturating_sub(1).min(name.len());
        Vma {
            range: Range { start: self.vma_start, end: self.vma_end },
            protection: Some(Protection {
                read: flag(1),
                write: flag(2),
                execute: flag(4),
                shared,
            }),
            backing: Backing::of_mapping(
                name.get(..length).unwrap_or(&[]),
                self.dev_major,
                self.inode,
                shared,
            ),
            offset: self.vma_offset,
            userfaultfd: false,
        }
    }
}
