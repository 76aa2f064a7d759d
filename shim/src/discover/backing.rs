//! Which file mappings may not move with others, beyond what their names show: those on ramfs, and
//! private ones of `/dev/zero` by any path. ramfs places its mappings itself; tmpfs, overlayfs,
//! btrfs and NFS do not.
//!
//! No path of the host is resolved in a move: a FUSE daemon whose own directory it leads through
//! would wait for itself, with signals blocked. `/dev/zero` is found at load, and the mount table
//! gives each file system's device.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use mremap_plan::mountinfo::{Device, TypeFinder};
use mremap_plan::{Backing, Vma};

use crate::sys::proc_maps::ProcFile;
use crate::sys::text::Text;
use crate::sys::{self, Errno};

const MOUNTS: &CStr = c"/proc/thread-self/mountinfo";
const RAMFS_MAGIC: i64 = 0x8584_58f6;
/// Major and minor number of `/dev/zero`.
const ZERO_DEVICE: Device = (1, 5);

/// The file `/dev/zero`: device and inode. An inode of 0 matches none.
static ZERO_FILE: (AtomicU32, AtomicU32, AtomicU64) =
    (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
/// Whether the kernel's first file system, `rootfs`, is a ramfs and not a tmpfs.
static ROOT_IS_RAMFS: AtomicBool = AtomicBool::new(false);

/// Finds what a move must know of files. At load.
pub(crate) fn prepare() {
    if let Ok(found) = sys::statx(c"/dev/zero")
        && (found.stx_rdev_major, found.stx_rdev_minor) == ZERO_DEVICE
    {
        ZERO_FILE.0.store(found.stx_dev_major, Ordering::Relaxed);
        ZERO_FILE.1.store(found.stx_dev_minor, Ordering::Relaxed);
        ZERO_FILE.2.store(found.stx_ino, Ordering::Relaxed);
    }
    ROOT_IS_RAMFS.store(sys::file_system(c"/") == Ok(RAMFS_MAGIC), Ordering::Relaxed);
}

/// The kinds of file systems that differ here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Ramfs,
    /// Local, so that it may hold device files.
    Local,
    /// Any other, and those that are not mounted (memfd, hugetlbfs).
    Other,
}

/// Finds what backs file mappings. Remembers the last file system, since files that are
/// moved together mostly share one.
pub(super) struct Backings {
    last: Option<(Device, FileSystem)>,
}

impl Backings {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    /// The backing of a VMA that shows this device and inode. `None` if the VMA is no
    /// longer as it was found: a part's target can cut a later VMA outside the range.
    pub(super) fn settle(&mut self, vma: &Vma, device: Device, inode: u64) -> Option<Backing> {
        let may_be_ramfs = vma.backing == Backing::UnnumberedFile;
        let may_be_zero = inode != 0 && vma.protection.is_some_and(|known| !known.shared);
        if vma.backing == Backing::PlacedByDriver || !may_be_ramfs && !may_be_zero {
            return Some(vma.backing);
        }
        let is_placed = may_be_zero && is_zero_file(device, inode)
            || match self.file_system(device) {
                FileSystem::Ramfs => may_be_ramfs,
                FileSystem::Local if may_be_zero => is_zero_device(vma)?,
                FileSystem::Local | FileSystem::Other => false,
            };
        Some(if is_placed { Backing::PlacedByDriver } else { Backing::Movable })
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

fn is_zero_file(device: Device, inode: u64) -> bool {
    inode == ZERO_FILE.2.load(Ordering::Relaxed)
        && device == (ZERO_FILE.0.load(Ordering::Relaxed), ZERO_FILE.1.load(Ordering::Relaxed))
}

/// Whether a VMA maps another device file of `/dev/zero`. The link of `map_files` leads to the file
/// itself, past its path; the kernel lets only a process with `CAP_CHECKPOINT_RESTORE` follow it.
/// `None` if there is no such VMA.
#[cold]
#[inline(never)] // its buffers stay off the stack of moves of memory
fn is_zero_device(vma: &Vma) -> Option<bool> {
    let mut path = Text::<64>::EMPTY;
    path.push(b"/proc/self/map_files/");
    push_hexadecimal(&mut path, vma.range.start);
    path.push(b"-");
    push_hexadecimal(&mut path, vma.range.end);
    path.push(b"\0");
    match sys::statx(CStr::from_bytes_with_nul(path.get()).ok()?) {
        Ok(found) => Some((found.stx_rdev_major, found.stx_rdev_minor) == ZERO_DEVICE),
        Err(Errno(libc::ENOENT)) => None,
        Err(_) => Some(false),
    }
}

fn push_hexadecimal<const CAPACITY: usize>(text: &mut Text<CAPACITY>, number: u64) {
    let digits = (67 - number.leading_zeros()) / 4;
    for digit in (0..digits).rev() {
        let value = (number >> (4 * digit)) as u8 & 15;
        text.push(&[if value < 10 { b'0' + value } else { b'a' - 10 + value }]);
    }
}

#[cold]
#[inline(never)] // likewise
fn find_file_system(device: Device) -> FileSystem {
    let Ok(mut file) = ProcFile::open(MOUNTS) else {
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
        b"rootfs" if ROOT_IS_RAMFS.load(Ordering::Relaxed) => FileSystem::Ramfs,
        _ if LOCAL.contains(&name) => FileSystem::Local,
        _ => FileSystem::Other,
    }
}
