//! VMAs by reading maps (or smaps) as text, from its start: linear in everything mapped below the range.

use core::sync::atomic::{AtomicU32, Ordering};

use mremap_plan::{Vma, maps};

use super::mounts::Mounts;
use crate::hooks::evidence::Files;
use crate::sys::{Errno, OpenFile};

/// Lines below the range in earlier moves, or those that were read in vain; a small process at first.
static LINES_BELOW: AtomicU32 = AtomicU32::new(16);

/// How much has to be read before a range is reached, going by the last move.
pub(super) fn lines_below() -> u32 {
    LINES_BELOW.load(Ordering::Relaxed)
}

const READ_ROOM: usize = 768;
/// The kernel's columns take 73 bytes; of the path only its beginning matters.
const LINE_ROOM: usize = 320;

/// What a file says of a VMA beyond its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// maps.
    None,
    /// smaps: `VmFlags` among others.
    Flags,
}

/// What was read of a maps file and not yet taken, and the line being put together.
pub(crate) struct Text {
    read: [u8; READ_ROOM],
    filled: usize,
    taken: usize,
    line: [u8; LINE_ROOM],
    /// Length of a line that is to be taken once more.
    again: Option<usize>,
    /// Lines read to reach a range.
    below: u32,
    mounts: Mounts,
}

impl Text {
    pub(crate) fn new() -> Self {
        Self {
            read: [0; READ_ROOM],
            filled: 0,
            taken: 0,
            line: [0; LINE_ROOM],
            again: None,
            below: 0,
            mounts: Mounts::new(),
        }
    }

    /// The buffer, for a way that reads no text.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.read
    }

    /// Another file is read from now on.
    pub(crate) fn clear(&mut self) {
        (self.filled, self.taken, self.again) = (0, 0, None);
        self.below = 0;
    }

    pub(crate) fn next_vma(
        &mut self,
        file: &OpenFile,
        from: u64,
        until: u64,
        detail: Detail,
    ) -> Result<Option<Vma>, Errno> {
        while let Some(len) = self.next_line(file)? {
            let Some(parsed) = self.line.get(..len).and_then(maps::parse_line) else {
                if detail == Detail::Flags {
                    continue;
                }
                return Err(Errno(libc::EIO));
            };
            if parsed.vma.range.end > from {
                if parsed.vma.range.start >= until {
                    return Ok(None);
                }
                let mut vma = parsed.vma;
                vma.backing = self.mounts.settle(&vma, parsed.device, parsed.path);
                if detail == Detail::Flags {
                    vma.userfaultfd = self.next_flags_name_userfaultfd(file)?;
                }
                return Ok(Some(vma));
            }
        }
        Ok(None)
    }

    /// Reads on to the first line that ends after `from`, which is taken next; false where that takes more lines than
    /// so many. What the buffer holds then is taken later: a move changes nothing of what lies above it.
    pub(super) fn read_up_to(
        &mut self,
        file: &OpenFile,
        from: u64,
        lines: u32,
    ) -> Result<bool, Errno> {
        let most = self.below.saturating_add(lines);
        while self.below < most {
            let Some(len) = self.next_line(file)? else {
                return Ok(true);
            };
            let end =
                self.line.get(..len).and_then(maps::parse_line).map(|line| line.vma.range.end);
            if end.ok_or(Errno(libc::EIO))? > from {
                self.again = Some(len);
                break;
            }
            self.below += 1;
        }
        LINES_BELOW.store(self.below, Ordering::Relaxed);
        Ok(self.again.is_some())
    }

    /// Looks at all file mappings, reading to the end.
    pub(super) fn look_at_files(&mut self, file: &OpenFile) -> Result<Files, Errno> {
        let mut files = Files::AllAnswer;
        while let Some(len) = self.next_line(file)? {
            let Some(parsed) = self.line.get(..len).and_then(maps::parse_line) else {
                return Err(Errno(libc::EIO));
            };
            if parsed.inode != 0 {
                let mut vma = parsed.vma;
                vma.backing = self.mounts.settle(&vma, parsed.device, parsed.path);
                files = files.and(&vma);
            }
            if files == Files::SomePlacedByDriver {
                break;
            }
        }
        Ok(files)
    }

    /// Reads on to the `VmFlags` of the VMA whose first line was read last.
    fn next_flags_name_userfaultfd(&mut self, file: &OpenFile) -> Result<bool, Errno> {
        while let Some(len) = self.next_line(file)? {
            if let Some(named) = self.line.get(..len).and_then(maps::flags_name_userfaultfd) {
                return Ok(named);
            }
        }
        Err(Errno(libc::EIO))
    }

    /// Puts the next line, cut to `LINE_ROOM`, in place; its length, or `None` at the end.
    fn next_line(&mut self, file: &OpenFile) -> Result<Option<usize>, Errno> {
        if let Some(len) = self.again.take() {
            return Ok(Some(len));
        }
        let mut len = 0;
        loop {
            if self.taken == self.filled {
                self.filled = file.read(&mut self.read)?.min(READ_ROOM);
                self.taken = 0;
                if self.filled == 0 {
                    return Ok(None);
                }
            }
            while self.taken < self.filled {
                let byte = self.read.get(self.taken).copied().unwrap_or(b'\n');
                self.taken += 1;
                if byte == b'\n' {
                    return Ok(Some(len));
                }
                if let Some(place) = self.line.get_mut(len) {
                    *place = byte;
                    len += 1;
                }
            }
        }
    }
}
