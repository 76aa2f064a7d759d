//! VMAs from the text of `maps` or `smaps`, which can only be read from its start: linear in the
//! number of VMAs below the range.

use mremap_plan::{Backing, Vma, maps};

use super::backing::Backings;
use crate::hooks::evidence::Files;
use crate::sys::proc_maps::{Lines, MapsFile};
use crate::sys::{self, Errno};

/// The first VMA that ends after `from` and starts before `until`. Of `smaps`, lines that describe
/// no VMA are skipped; of `maps`, one is `EIO`. `ESTALE`: the text is older than the VMA.
pub(super) fn next_vma(
    lines: &mut Lines,
    file: &mut MapsFile,
    backings: &mut Backings,
    from: u64,
    until: u64,
    is_smaps: bool,
) -> sys::Result<Option<Vma>> {
    while let Some(line) = lines.next(file)? {
        let Some(parsed) = maps::parse_line(line) else {
            if is_smaps {
                continue;
            }
            return Err(Errno(libc::EIO));
        };
        let mut vma = parsed.vma;
        if vma.range.end <= from {
            continue;
        }
        if vma.range.start >= until {
            return Ok(None);
        }
        vma.backing =
            backings.settle(&vma, parsed.device, parsed.inode).ok_or(Errno(libc::ESTALE))?;
        if is_smaps {
            vma.userfaultfd = flags_name_userfaultfd(lines, file)?;
        }
        return Ok(Some(vma));
    }
    Ok(None)
}

/// Reads up to the `VmFlags` of the VMA whose first line was read last.
fn flags_name_userfaultfd(lines: &mut Lines, file: &mut MapsFile) -> sys::Result<bool> {
    while let Some(line) = lines.next(file)? {
        if let Some(named) = maps::flags_name_userfaultfd(line) {
            return Ok(named);
        }
    }
    Err(Errno(libc::EIO))
}

/// Checks all file mappings of this process.
pub(super) fn check_files(
    lines: &mut Lines,
    file: &mut MapsFile,
    backings: &mut Backings,
) -> sys::Result<Files> {
    while let Some(line) = lines.next(file)? {
        let parsed = maps::parse_line(line).ok_or(Errno(libc::EIO))?;
        if parsed.inode != 0
            && backings.settle(&parsed.vma, parsed.device, parsed.inode)
                == Some(Backing::PlacedByDriver)
        {
            return Ok(Files::SomePlacedByDriver);
        }
    }
    Ok(Files::AllMovable)
}
