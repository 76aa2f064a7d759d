//! What the pieces of a layout are made of: files that are there before the first case and never change.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::sys;
use crate::case::{FILE_PAGES, PAGE};

const HOLE: std::ops::Range<u64> = 40..44;

/// The files of one runner.
pub struct Resources {
    /// The directory, to be read where it is not mounted any more.
    pub(super) proc: i32,
    pub(super) memfd: i32,
    pub(super) file: i32,
    /// `/dev/zero`, and the same device by another path.
    pub(super) zeros: [i32; 2],
    pub(super) ramfs: Option<i32>,
    pub(super) bpf_map: Option<i32>,
    pub(super) vvar: Option<(u64, u64)>,
    pub(super) vdso: Option<(u64, u64)>,
}

impl Resources {
    /// Makes them. What the kernel or the rights of the process do not allow is left out.
    pub fn make(scratch: &Path) -> Result<Self> {
        let pid = std::process::id();
        let memfd = sys::memfd(false, 0)?;
        fill(memfd)?;
        let zero = open_device(Path::new("/dev/zero")).context("/dev/zero")?;
        Ok(Self {
            proc: File::open("/proc").context("/proc")?.into_raw_fd(),
            memfd,
            file: content_file(scratch)?,
            zeros: [zero, other_zero(&scratch.join(format!("zero-{pid}"))).unwrap_or(zero)],
            ramfs: ramfs(&scratch.join(format!("ramfs-{pid}"))),
            bpf_map: sys::bpf_map(4),
            vvar: sys::find_mapping("[vvar]"),
            vdso: sys::find_mapping("[vdso]"),
        })
    }
}

/// A file without a name in the scratch directory.
fn content_file(scratch: &Path) -> Result<i32> {
    let path = scratch.join(format!("content-{}", std::process::id()));
    let file = create(&path).with_context(|| format!("{}: cannot be created", path.display()))?;
    fs::remove_file(&path)?;
    let fd = file.into_raw_fd();
    fill(fd)?;
    Ok(fd)
}

/// A device file that is `/dev/zero`, where the rights of the process and the file system allow one; its name must
/// stay for a look by path.
fn other_zero(path: &Path) -> Option<i32> {
    sys::make_zero_device(&CString::new(path.as_os_str().as_bytes()).ok()?);
    open_device(path).ok()
}

fn open_device(path: &Path) -> std::io::Result<i32> {
    let device = File::options().read(true).write(true).open(path)?;
    Ok(device.into_raw_fd())
}

/// A content file on a ramfs; its name must stay for a look at its file system by path.
fn ramfs(directory: &Path) -> Option<i32> {
    fs::create_dir(directory).ok()?;
    let mounted = sys::mount_ramfs(&CString::new(directory.as_os_str().as_bytes()).ok()?);
    let file = mounted.then(|| create(&directory.join("content")));
    if !mounted {
        let _ = fs::remove_dir(directory);
    }
    let fd = file?.ok()?.into_raw_fd();
    fill(fd).ok()?;
    Some(fd)
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
}

/// Content that names its page, with a hole, ending in the middle of a page.
fn fill(fd: i32) -> Result<()> {
    // SAFETY: the descriptor is open; it is given back below.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(FILE_PAGES * PAGE - PAGE / 2)?;
    for page in (0..FILE_PAGES).filter(|page| !HOLE.contains(page)) {
        file.write_all_at(&(0xf11e_0000 + page).to_ne_bytes(), page * PAGE)?;
    }
    debug_assert_eq!(file.as_raw_fd(), fd);
    let _ = file.into_raw_fd();
    Ok(())
}
