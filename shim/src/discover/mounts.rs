//! What a name alone does not tell: ramfs places its own mappings, the other file systems without a block device
//! (tmpfs, overlayfs, btrfs, NFS) do not. The list of mounts tells them apart by their devices. No file system is asked
//! itself: on a mount whose server is gone that would last for ever, with signals blocked.

use core::ffi::CStr;

use mremap_plan::Backing;
use mremap_plan::mountinfo::{Device, TypeFinder};

use crate::sys::{self, OpenFile};

const MOUNTS: &CStr = c"/proc/thread-self/mountinfo";
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// What was asked last: files that are moved together mostly lie together.
#[derive(Clone, Copy)]
pub(super) struct Mounts {
    last: Option<(Device, Backing)>,
}

impl Mounts {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    /// Settles the backing of a mapping of a file on this device.
    pub(super) fn settle(&mut self, backing: Backing, device: Device) -> Backing {
        if backing != Backing::UnnumberedFile {
            return backing;
        }
        if let Some((last, backing)) = self.last
            && last == device
        {
            return backing;
        }
        let backing = if is_ramfs(device) {
            Backing::PlacedByDriver
        } else {
            Backing::Movable
        };
        self.last = Some((device, backing));
        backing
    }
}

/// False too where nobody can tell: what is mounted nowhere (memfd, hugetlbfs) is none.
#[cold]
#[inline(never)] // its buffer stays off the stack of whoever asks for no file
fn is_ramfs(device: Device) -> bool {
    let Ok(file) = OpenFile::open(MOUNTS) else {
        return false;
    };
    let mut finder = TypeFinder::new(device);
    let mut read = [0; 256];
    loop {
        let len = file.read(&mut read).unwrap_or(0);
        if len == 0 {
            return false;
        }
        for &byte in read.iter().take(len) {
            match finder.take(byte) {
                None => {}
                // What a kernel starts from, on memory of either kind.
                Some(b"rootfs") => return sys::file_system(c"/") == Ok(RAMFS_MAGIC),
                Some(name) => return name == b"ramfs",
            }
        }
    }
}
