//! VMAs by `PROCMAP_QUERY`: one ioctl each, whatever else is mapped.

use core::sync::atomic::{AtomicBool, Ordering};

use mremap_plan::procmap::ProcmapQuery;
use mremap_plan::{Backing, Range, Vma};
use mremap_trace::Module;

use super::{module_of, settle_backing};
use crate::sys::{Failed, OpenFile};

/// Long enough for every name that matters; a longer path is cut by the kernel's `ENAMETOOLONG`.
const NAME_ROOM: usize = 256;

static WORKS: AtomicBool = AtomicBool::new(false);

/// Whether this kernel has the ioctl (6.11), and this sandbox lets it through.
pub(crate) fn works_on(maps: &OpenFile) -> bool {
    WORKS.load(Ordering::Relaxed) || {
        let works = maps
            .procmap_query(&mut ProcmapQuery::at_or_above(0, 0, 0))
            .is_ok();
        WORKS.store(works, Ordering::Relaxed);
        works
    }
}

/// Which file a mapping shows, as the kernel numbers it; and whether it is shared.
type File = (u32, u32, u64, bool);

/// What the name of the last file said.
pub(super) struct Names {
    last: Option<(File, Backing)>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    /// As [`mremap_plan::VmaSource`]; a name is put into `room`.
    pub(super) fn next_vma(
        &mut self,
        maps: &OpenFile,
        room: &mut [u8],
        from: u64,
        until: u64,
    ) -> Result<Option<Vma>, Failed> {
        // Memory needs no name, and asking for one costs half as much again.
        let mut query = ProcmapQuery::at_or_above(from, 0, 0);
        match maps.procmap_query(&mut query) {
            Ok(_) if query.vma_start < until => {}
            Ok(_) | Err(Failed(libc::ENOENT)) => return Ok(None),
            Err(failed) => return Err(failed),
        }
        let mut vma = query.vma(&[]);
        if query.inode != 0 {
            vma.backing = self.backing_of(maps, room, &query, vma);
        }
        Ok(Some(vma))
    }

    fn backing_of(&mut self, maps: &OpenFile, room: &mut [u8], found: &ProcmapQuery, vma: Vma) -> Backing {
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
        let backing = match maps.procmap_query(&mut named) {
            Ok(_) if named.vma_start == found.vma_start => {
                settle_backing(named.vma(room), name_in(room)).backing
            }
            // A name too long to be one of those that matter, or a mapping that is gone.
            _ => settle_backing(vma, &[]).backing,
        };
        self.last = Some((file, backing));
        backing
    }
}

pub(super) fn find_module(maps: &OpenFile, address: u64, take: impl FnOnce(Range, Module, &[u8])) {
    let mut name = [0u8; NAME_ROOM];
    let mut build_id = [0u8; 20];
    let mut query = ProcmapQuery::at_or_above(address, name.as_mut_ptr().addr() as u64, NAME_ROOM as u32);
    query.build_id_addr = build_id.as_mut_ptr().addr() as u64;
    query.build_id_size = build_id.len() as u32;
    if maps.procmap_query(&mut query).is_err() {
        return;
    }
    let vma = query.vma(&name);
    if vma.range.contains(address) {
        let module = Module {
            build_id,
            build_id_len: query.build_id_size.min(20) as u8,
            ..module_of(&vma)
        };
        take(vma.range, module, name_in(&name));
    }
}

fn name_in(room: &[u8]) -> &[u8] {
    let end = room.iter().position(|&byte| byte == 0).unwrap_or(room.len());
    room.get(..end).unwrap_or(room)
}
