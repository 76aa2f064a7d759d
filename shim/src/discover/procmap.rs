//! VMAs by `PROCMAP_QUERY`: one ioctl each, whatever else is mapped.

use mremap_plan::Vma;
use mremap_plan::procmap::ProcmapQuery;

use super::settle_backing;
use crate::sys::{self, Failed};

/// Long enough for every name that matters; a longer path is cut by the kernel's `ENAMETOOLONG`.
const NAME_ROOM: usize = 256;

/// An open maps file that answers queries.
pub(crate) struct Query {
    fd: i32,
}

/// Whether this kernel has the ioctl (6.11), and this sandbox lets it through.
pub(crate) fn works_on(fd: i32) -> bool {
    sys::procmap_query(fd, &mut ProcmapQuery::at_or_above(0, 0, 0)).is_ok()
}

impl Query {
    pub(crate) fn new(fd: i32) -> Self {
        Self { fd }
    }

    pub(crate) fn next_vma(&mut self, from: u64, until: u64) -> Result<Option<Vma>, Failed> {
        let mut name = [0u8; NAME_ROOM];
        let mut query = ProcmapQuery::at_or_above(from, name.as_mut_ptr().addr() as u64, NAME_ROOM as u32);
        let mut asked = sys::procmap_query(self.fd, &mut query);
        if asked == Err(Failed(libc::ENAMETOOLONG)) {
            query = ProcmapQuery::at_or_above(from, 0, 0);
            asked = sys::procmap_query(self.fd, &mut query);
        }
        match asked {
            Ok(_) if query.vma_start < until => Ok(Some(settle_backing(query.vma(&name), name_of(&name)))),
            Ok(_) | Err(Failed(libc::ENOENT)) => Ok(None),
            Err(failed) => Err(failed),
        }
    }
}

fn name_of(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    &name[..end]
}

impl Drop for Query {
    fn drop(&mut self) {
        sys::close(self.fd);
    }
}
