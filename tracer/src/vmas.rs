//! The VMAs of a range of a stopped process, from `/proc/TID/maps`, or `smaps` where flags matter.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt as _;

use mremap_plan::maps::{flags_name_userfaultfd, parse_line};
use mremap_plan::mountinfo::{Device, TypeFinder};
use mremap_plan::{Backing, Range, Vma, VmaSource};

use crate::ptrace::Pid;

/// What to read about each VMA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// A line of maps.
    Plain,
    /// `VmFlags` of smaps too, which walks page tables.
    Flags,
}

/// One VMA, and flags that only smaps shows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) vma: Vma,
    /// It has `VM_DONTEXPAND` or `VM_PFNMAP`: since 6.17, `MREMAP_DONTUNMAP` fails with `EINVAL`.
    pub(crate) refuses_dontunmap: bool,
}

/// The VMAs of a range in address order, read once: every thread that could change them is stopped.
pub(crate) struct Vmas {
    found: Vec<Found>,
    next: usize,
}

impl Vmas {
    /// Reads the VMAs of `thread` that intersect `range`.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(crate) fn read(thread: Pid, range: Range, detail: Detail) -> io::Result<Self> {
        let name = if detail == Detail::Flags { "smaps" } else { "maps" };
        let file = BufReader::new(File::open(format!("/proc/{thread}/{name}"))?);
        let mut mounts = Mounts { thread, last: None };
        let mut found: Vec<Found> = Vec::new();
        for line in file.split(b'\n') {
            let line = line?;
            if let Some(parsed) = parse_line(&line) {
                if parsed.vma.range.start >= range.end {
                    break;
                }
                let mut vma = parsed.vma;
                if vma.range.end > range.start {
                    vma.backing = mounts.resolve(&vma, parsed.device, parsed.path);
                    found.push(Found { vma, refuses_dontunmap: false });
                }
            } else if let Some(last) = found.last_mut()
                && let Some(is_registered) = flags_name_userfaultfd(&line)
            {
                last.vma.userfaultfd |= is_registered;
                let has = |flag: &[u8]| line.split(u8::is_ascii_whitespace).any(|one| one == flag);
                last.refuses_dontunmap = has(b"de") || has(b"pf");
            }
        }
        Ok(Self { found, next: 0 })
    }

    /// Whether one VMA holds the whole range.
    pub(crate) fn is_one_vma(&self, range: Range) -> bool {
        let holds = |vma: &Vma| vma.range.intersect(range) == range;
        self.found.first().is_some_and(|found| holds(&found.vma))
    }

    /// Whether the VMA that was returned last refuses `MREMAP_DONTUNMAP`.
    pub(crate) fn last_refuses_dontunmap(&self) -> bool {
        self.next
            .checked_sub(1)
            .and_then(|last| self.found.get(last))
            .is_some_and(|f| f.refuses_dontunmap)
    }

    /// Whether any VMA intersects `range`.
    pub(crate) fn touches(&self, range: Range) -> bool {
        self.found.iter().any(|found| !found.vma.range.intersect(range).is_empty())
    }

    /// Executable VMAs outside `avoid`.
    pub(crate) fn code_outside(thread: Pid, avoid: &[Range]) -> io::Result<Vec<Range>> {
        let all = Self::read(thread, Range { start: 0, end: u64::MAX }, Detail::Plain)?;
        let is_code = |vma: &Vma| {
            vma.protection.is_some_and(|known| known.execute && known.read)
                && avoid.iter().all(|range| vma.range.intersect(*range).is_empty())
        };
        Ok(all.found.iter().map(|found| found.vma).filter(is_code).map(|vma| vma.range).collect())
    }
}

impl VmaSource for Vmas {
    type Error = io::Error;

    fn next_vma(&mut self, from: u64, until: u64) -> io::Result<Option<&Vma>> {
        while let Some(found) = self.found.get(self.next) {
            if found.vma.range.start >= until {
                break;
            }
            self.next += 1;
            if found.vma.range.end > from {
                return Ok(self.found.get(self.next - 1).map(|found| &found.vma));
            }
        }
        Ok(None)
    }
}

/// What a file system means for its mappings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    /// It places its mappings itself.
    Ramfs,
    /// It may hold device files, and needs no other process to answer.
    Local,
    /// Any other, or one that is not mounted (memfd, hugetlbfs).
    Other,
}

/// Decides what a line of maps does not tell: files on ramfs, and other paths of the device
/// `/dev/zero`, place their mappings themselves.
struct Mounts {
    thread: Pid,
    last: Option<(Device, FileSystem)>,
}

impl Mounts {
    fn resolve(&mut self, vma: &Vma, device: Device, path: &[u8]) -> Backing {
        let may_be_ramfs = vma.backing == Backing::UnnumberedFile;
        let may_be_zero =
            vma.protection.is_some_and(|known| !known.shared) && path.first() == Some(&b'/');
        if vma.backing == Backing::PlacedByDriver || !may_be_ramfs && !may_be_zero {
            return vma.backing;
        }
        let is_placed_by_driver = match self.file_system(device) {
            FileSystem::Ramfs => may_be_ramfs,
            FileSystem::Local => may_be_zero && self.is_zero(vma.range),
            FileSystem::Other => false,
        };
        if is_placed_by_driver { Backing::PlacedByDriver } else { Backing::Movable }
    }

    fn file_system(&mut self, device: Device) -> FileSystem {
        match self.last {
            Some((last, known)) if last == device => known,
            _ => {
                let found = self.look_up(device);
                self.last = Some((device, found));
                found
            }
        }
    }

    fn look_up(&self, device: Device) -> FileSystem {
        const LOCAL: [&[u8]; 9] = [
            b"devtmpfs",
            b"tmpfs",
            b"overlay",
            b"ext4",
            b"ext3",
            b"ext2",
            b"xfs",
            b"btrfs",
            b"f2fs",
        ];
        let mounts = fs::read(format!("/proc/{}/mountinfo", self.thread)).unwrap_or_default();
        let mut finder = TypeFinder::new(device);
        let found = mounts.iter().find_map(|&byte| finder.take(byte).map(<[u8]>::to_vec));
        match found.as_deref() {
            Some(b"ramfs") => FileSystem::Ramfs,
            Some(name) if LOCAL.contains(&name) => FileSystem::Local,
            _ => FileSystem::Other,
        }
    }

    /// Whether a mapping's file is the device (1, 5). The link leads to the file itself, so that no
    /// path is resolved, which a stopped process might have to serve. Only root may follow it.
    fn is_zero(&self, range: Range) -> bool {
        let link = format!("/proc/{}/map_files/{:x}-{:x}", self.thread, range.start, range.end);
        fs::metadata(link).is_ok_and(|file| file.rdev() == libc::makedev(1, 5))
    }
}
