//! VMAs by `PROCMAP_QUERY`: one ioctl each, however many VMAs there are.

use mremap_plan::Backing;
use mremap_plan::procmap::ProcmapQuery;

use super::backing::Backings;
use super::prefetched::Prefetched;
use crate::hooks::evidence::Files;
use crate::sys::proc_maps::MapsFile;
use crate::sys::{self, Errno};

/// Long enough for every name that matters. The kernel returns `ENAMETOOLONG` for a longer one.
const NAME_CAPACITY: usize = 256;

/// A file as the kernel numbers it, and whether it is mapped shared.
type File = (u32, u32, u64, bool);

/// Queries the kernel for VMAs and their names.
pub(super) struct Querying {
    /// The file queried last, and its backing.
    last: Option<(File, Backing)>,
}

impl Querying {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    /// Adds the VMAs that end after `from` and start before `until`, as many as there is room for.
    /// Names are put into `buffer`.
    pub(super) fn prefetch(
        &mut self,
        maps: &MapsFile,
        backings: &mut Backings,
        buffer: &mut [u8],
        mut from: u64,
        until: u64,
        prefetched: &mut Prefetched,
    ) -> sys::Result<()> {
        while from < until && !prefetched.is_full() {
            // Memory needs no name, and a name costs half as much again.
            let mut query = ProcmapQuery::at_or_above(from, 0, 0);
            match maps.query(&mut query) {
                Ok(_) if query.vma_start < until => {}
                Ok(_) | Err(Errno(libc::ENOENT)) => break,
                Err(errno) => return Err(errno),
            }
            let mut vma = query.vma(&[]);
            // The inode of a System V segment is its number, which may be 0.
            if (query.dev_major, query.dev_minor, query.inode) != (0, 0, 0) {
                vma.backing = self.backing_of(maps, backings, buffer, &query);
            }
            from = vma.range.end;
            prefetched.add(vma);
        }
        Ok(())
    }

    /// Checks all file mappings of this process.
    pub(super) fn check_files(
        &mut self,
        maps: &MapsFile,
        backings: &mut Backings,
        buffer: &mut [u8],
    ) -> sys::Result<Files> {
        let mut from = 0;
        loop {
            let mut query = ProcmapQuery::at_or_above(from, 0, 0).of_files_only();
            match maps.query(&mut query) {
                Ok(_) => {}
                Err(Errno(libc::ENOENT)) => return Ok(Files::AllMovable),
                Err(errno) => return Err(errno),
            }
            if self.backing_of(maps, backings, buffer, &query) == Backing::PlacedByDriver {
                return Ok(Files::SomePlacedByDriver);
            }
            from = query.vma_end;
        }
    }

    fn backing_of(
        &mut self,
        maps: &MapsFile,
        backings: &mut Backings,
        buffer: &mut [u8],
        found: &ProcmapQuery,
    ) -> Backing {
        let vma = found.vma(&[]);
        let shared = vma.protection.is_some_and(|known| known.shared);
        let file = (found.dev_major, found.dev_minor, found.inode, shared);
        if let Some((last, backing)) = self.last
            && last == file
        {
            return backing;
        }
        let len = buffer.len().min(NAME_CAPACITY) as u32;
        let mut named =
            ProcmapQuery::at_or_above(found.vma_start, buffer.as_mut_ptr().addr() as u64, len);
        let vma = match maps.query(&mut named) {
            Ok(_) if named.vma_start == found.vma_start => named.vma(buffer),
            // The name is too long to matter, or the VMA was unmapped.
            _ => vma,
        };
        let device = (found.dev_major, found.dev_minor);
        // Another thread has changed it since.
        let backing = backings.settle(&vma, device, found.inode).unwrap_or(Backing::Movable);
        self.last = Some((file, backing));
        backing
    }
}
