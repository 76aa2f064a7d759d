//! VMAs by `PROCMAP_QUERY`: one ioctl each, whatever else is mapped.

use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::procmap::ProcmapQuery;
use mremap_plan::{Backing, Vma};

use super::mounts::Mounts;
use crate::hooks::evidence::Files;
use crate::sys::{Errno, OpenFile};

/// Long enough for every name that matters; a longer path is cut by the kernel's `ENAMETOOLONG`.
const NAME_ROOM: usize = 256;

const UNTRIED: u8 = 0;
const WORKS: u8 = 1;
const FAILED: u8 = 2;
static TRIED: AtomicU8 = AtomicU8::new(UNTRIED);

/// Whether it is worth opening a file to ask.
pub(super) fn may_work() -> bool {
    TRIED.load(Ordering::Relaxed) != FAILED
}

/// Whether this kernel has the ioctl (6.11), and this sandbox lets it through.
pub(super) fn works_on(maps: &OpenFile) -> bool {
    if TRIED.load(Ordering::Relaxed) == UNTRIED {
        let works = maps.procmap_query(&mut ProcmapQuery::at_or_above(0, 0, 0)).is_ok();
        TRIED.store(if works { WORKS } else { FAILED }, Ordering::Relaxed);
    }
    TRIED.load(Ordering::Relaxed) == WORKS
}

/// Which file a mapping shows, as the kernel numbers it; and whether it is shared.
type File = (u32, u32, u64, bool);

/// What the name of the last file said.
pub(super) struct Names {
    last: Option<(File, Backing)>,
    mounts: Mounts,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { last: None, mounts: Mounts::new() }
    }

    /// Asks for the VMAs that end after `from` and start before `until`, one after the other, as long as `take` wants more. A
    /// name is put into `room`.
    pub(super) fn ask_each(
        &mut self,
        maps: &OpenFile,
        room: &mut [u8],
        from: u64,
        until: u64,
        mut take: impl FnMut(Vma) -> bool,
    ) -> Result<(), Errno> {
        let mut next = from;
        while next < until
            && let Some(vma) = self.ask(maps, room, next, until)?
        {
            next = vma.range.end;
            if !take(vma) {
                break;
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        maps: &OpenFile,
        room: &mut [u8],
        from: u64,
        until: u64,
    ) -> Result<Option<Vma>, Errno> {
        // Memory needs no name, and asking for one costs half as much again.
        let mut query = ProcmapQuery::at_or_above(from, 0, 0);
        match maps.procmap_query(&mut query) {
            Ok(_) if query.vma_start < until => {}
            Ok(_) | Err(Errno(libc::ENOENT)) => return Ok(None),
            Err(failed) => return Err(failed),
        }
        let mut vma = query.vma(&[]);
        // A System V segment's inode is its number, which may be 0.
        if (query.dev_major, query.dev_minor, query.inode) != (0, 0, 0) {
            vma.backing = self.backing_of(maps, room, &query, vma);
        }
        Ok(Some(vma))
    }

    /// Looks at all file mappings.
    pub(super) fn look_at_files(
        &mut self,
        maps: &OpenFile,
        room: &mut [u8],
    ) -> Result<Files, Errno> {
        let mut next = 0;
        let mut files = Files::AllAnswer;
        loop {
            let mut query = ProcmapQuery::at_or_above(next, 0, 0).of_files_only();
            match maps.procmap_query(&mut query) {
                Ok(_) => {}
                Err(Errno(libc::ENOENT)) => return Ok(files),
                Err(failed) => return Err(failed),
            }
            let mut vma = query.vma(&[]);
            vma.backing = self.backing_of(maps, room, &query, vma);
            files = files.and(&vma);
            if files == Files::SomePlacedByDriver {
                return Ok(files);
            }
            next = vma.range.end;
        }
    }

    fn backing_of(
        &mut self,
        maps: &OpenFile,
        room: &mut [u8],
        found: &ProcmapQuery,
        vma: Vma,
    ) -> Backing {
        let shared = vma.protection.is_some_and(|known| known.shared);
        let file = (found.dev_major, found.dev_minor, found.inode, shared);
        if let Some((last, backing)) = self.last
            && last == file
        {
            return backing;
        }
        let len = room.len().min(NAME_ROOM);
        let mut named =
            ProcmapQuery::at_or_above(found.vma_start, room.as_mut_ptr().addr() as u64, len as u32);
        let (named, path) = match maps.procmap_query(&mut named) {
            Ok(_) if named.vma_start == found.vma_start => (named.vma(room), name_in(room)),
            // A name too long to be one of those that matter, or a mapping that is gone.
            _ => (vma, [].as_slice()),
        };
        let backing = self.mounts.settle(&named, (found.dev_major, found.dev_minor), path);
        self.last = Some((file, backing));
        backing
    }
}

fn name_in(room: &[u8]) -> &[u8] {
    let end = room.iter().position(|&byte| byte == 0).unwrap_or(room.len());
    room.get(..end).unwrap_or(room)
}
