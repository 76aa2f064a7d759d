//! What a name alone does not tell: ramfs places its own mappings, the other file systems without a block device
//! (tmpfs, overlayfs, btrfs, NFS) do not; and a private mapping of the device that `/dev/zero` is may go by any path.
//! The list of mounts tells file systems apart by their devices. None but a local one is asked itself: on a mount whose
//! server is gone that would last for ever, with signals blocked.

use core::ffi::CStr;

use mremap_plan::mountinfo::{Device, TypeFinder};
use mremap_plan::{Backing, Vma};

use crate::sys::{self, OpenFile};

const MOUNTS: &CStr = c"/proc/thread-self/mountinfo";
const RAMFS_MAGIC: i64 = 0x8584_58f6;
/// Major and minor number of `/dev/zero`.
const ZERO_DEVICE: Device = (1, 5);
/// Longest path asked about.
const PATH_ROOM: usize = 256;

/// What is to be known of a file system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Ramfs,
    /// Answers at once, and may hold device files.
    Local,
    /// Or mounted nowhere (memfd, hugetlbfs).
    Other,
}

/// What was asked last: files that are moved together mostly lie together.
#[derive(Clone, Copy)]
pub(super) struct Mounts {
    last: Option<(Device, FileSystem)>,
}

impl Mounts {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    /// Settles the backing of a mapping that shows this device and this path.
    pub(super) fn settle(&mut self, vma: &Vma, device: Device, path: &[u8]) -> Backing {
        let may_be_ramfs = vma.backing == Backing::UnnumberedFile;
        let may_be_zero =
            vma.protection.is_some_and(|known| !known.shared) && path.first() == Some(&b'/');
        if vma.backing == Backing::PlacedByDriver || !may_be_ramfs && !may_be_zero {
            return vma.backing;
        }
        let is_placed = match self.file_system(device) {
            FileSystem::Ramfs => may_be_ramfs,
            FileSystem::Local => may_be_zero && is_zero(path),
            FileSystem::Other => false,
        };
        if is_placed { Backing::PlacedByDriver } else { Backing::Movable }
    }

    fn file_system(&mut self, device: Device) -> FileSystem {
        match self.last {
            Some((last, known)) if last == device => known,
            _ => {
                let found = look_up(device);
                self.last = Some((device, found));
                found
            }
        }
    }
}

/// Whether a path is that of the device that `/dev/zero` is. A file that is gone cannot be asked.
#[cold]
#[inline(never)] // its buffer stays off the stack of whoever asks for no file
fn is_zero(path: &[u8]) -> bool {
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
fn look_up(device: Device) -> FileSystem {
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
        // What a kernel starts from, on memory of either kind.
        b"rootfs" if sys::file_system(c"/") == Ok(RAMFS_MAGIC) => FileSystem::Ramfs,
        _ if LOCAL.contains(&name) => FileSystem::Local,
        _ => FileSystem::Other,
    }
}
