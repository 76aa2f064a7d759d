//! Which file mappings may not move with others, beyond what their names show: those on ramfs,
//! which places its own mappings as tmpfs, overlayfs, btrfs and NFS do not, and private ones of
//! `/dev/zero` by any path.
//!
//! The mount table tells file systems apart by their device. A path is resolved only on a local
//! file system: a server that does not answer would block the move, with signals blocked.

use core::ffi::CStr;

use mremap_plan::mountinfo::{Device, TypeFinder};
use mremap_plan::{Backing, Vma};

use crate::sys::{self, OpenFile};

const MOUNTS: &CStr = c"/proc/thread-self/mountinfo";
const RAMFS_MAGIC: i64 = 0x8584_58f6;
/// Major and minor number of `/dev/zero`.
const ZERO_DEVICE: Device = (1, 5);
/// Longest path that is resolved.
const PATH_ROOM: usize = 256;

/// What matters of a file system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Ramfs,
    /// Answers at once, and may hold device files.
    Local,
    /// Others, and those that are not mounted (memfd, hugetlbfs).
    Other,
}

/// Finds what stands behind file mappings. Remembers the last file system, since files that are
/// moved together mostly lie together.
pub(super) struct Backings {
    last: Option<(Device, FileSystem)>,
}

impl Backings {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    /// The backing of a VMA that shows this device and this path.
    pub(super) fn settle(&mut self, vma: &Vma, device: Device, path: &[u8]) -> Backing {
        let may_be_ramfs = vma.backing == Backing::UnnumberedFile;
        let may_be_zero =
            vma.protection.is_some_and(|known| !known.shared) && path.first() == Some(&b'/');
        if vma.backing == Backing::PlacedByDriver || !may_be_ramfs && !may_be_zero {
            return vma.backing;
        }
        let is_placed = match self.file_system(device) {
            FileSystem::Ramfs => may_be_ramfs,
            FileSystem::Local => may_be_zero && is_zero_device(path),
            FileSystem::Other => false,
        };
        if is_placed { Backing::PlacedByDriver } else { Backing::Movable }
    }

    fn file_system(&mut self, device: Device) -> FileSystem {
        match self.last {
            Some((last, known)) if last == device => known,
            _ => {
                let found = find_file_system(device);
                self.last = Some((device, found));
                found
            }
        }
    }
}

/// Whether a path leads to the device of `/dev/zero`. A deleted file has no path.
#[cold]
#[inline(never)] // its buffer stays off the stack of moves of memory
fn is_zero_device(path: &[u8]) -> bool {
    let mut text = [0; PATH_ROOM];
    if path.ends_with(b" (deleted)") || path.len() >= text.len() {
        return false;
    }
    for (place, byte) in text.iter_mut().zip(path) {
        *place = *byte;
    }
    CStr::from_bytes_until_nul(&text).is_ok_and(|path| sys::device(path) == Ok(ZERO_DEVICE))
}

#[cold]
#[inline(never)] // likewise
fn find_file_system(device: Device) -> FileSystem {
    let Ok(file) = OpenFile::open(MOUNTS) else {
        return FileSystem::Other;
    };
    let mut finder = TypeFinder::new(device);
    let mut read = [0; 256];
    loop {
        let len = file.read(&mut read).unwrap_or(0);
        if len == 0 {
            return FileSystem::Other;
        }
        for &byte in read.iter().take(len) {
            if let Some(name) = finder.take(byte) {
                return file_system_of(name);
            }
        }
    }
}

fn file_system_of(name: &[u8]) -> FileSystem {
    const LOCAL: [&[u8]; 9] =
        [b"devtmpfs", b"tmpfs", b"overlay", b"ext4", b"ext3", b"ext2", b"xfs", b"btrfs", b"f2fs"];
    match name {
        b"ramfs" => FileSystem::Ramfs,
        // The kernel's first file system is a tmpfs or a ramfs.
        b"rootfs" if sys::file_system(c"/") == Ok(RAMFS_MAGIC) => FileSystem::Ramfs,
        _ if LOCAL.contains(&name) => FileSystem::Local,
        _ => FileSystem::Other,
    }
}
