//! The files that layouts map. They are created before the first case and never change.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Result;

use super::sys;
use crate::case::{FILE_PAGES, PAGE};

const HOLE: std::ops::Range<u64> = 40..44;

/// A runner's files.
pub struct Resources {
    /// `/proc`, kept open in case it is unmounted.
    pub(super) proc: i32,
    pub(super) memfd: i32,
    pub(super) file: i32,
    /// `/dev/zero`, and the same device under another path.
    pub(super) zeros: [i32; 2],
    pub(super) ramfs: Option<i32>,
    pub(super) bpf_map: Option<i32>,
    pub(super) vvar: Option<(u64, u64)>,
    pub(super) vdso: Option<(u64, u64)>,
}

impl Resources {
    /// Creates them, as far as kernel and privileges allow, some in a scratch directory if there is
    /// one. A file that could not be created is -1, and cannot be mapped.
    pub fn create(scratch: Option<&Path>) -> Self {
        let pid = std::process::id();
        let in_scratch = |name: &str| scratch.map(|scratch| scratch.join(format!("{name}-{pid}")));
        let zero = open_device(Path::new("/dev/zero")).unwrap_or(-1);
        let other = in_scratch("zero").and_then(|path| other_zero(&path));
        Self {
            proc: File::open("/proc").map_or(-1, IntoRawFd::into_raw_fd),
            memfd: content_memfd().unwrap_or(-1),
            file: in_scratch("content").and_then(|path| content_file(&path).ok()).unwrap_or(-1),
            zeros: [zero, other.unwrap_or(zero)],
            ramfs: in_scratch("ramfs").and_then(|path| ramfs(&path)),
            bpf_map: sys::bpf_map(4),
            vvar: sys::find_mapping("[vvar]"),
            vdso: sys::find_mapping("[vdso]"),
        }
    }
}

fn content_memfd() -> Result<i32> {
    let fd = sys::memfd(false, 0)?;
    fill(fd)?;
    Ok(fd)
}

/// Creates a file and unlinks it.
fn content_file(path: &Path) -> Result<i32> {
    let file = create(path)?;
    fs::remove_file(path)?;
    let fd = file.into_raw_fd();
    fill(fd)?;
    Ok(fd)
}

/// Creates a device node of `/dev/zero`, if privileges and file system allow. It keeps its name,
/// since the library may look it up.
fn other_zero(path: &Path) -> Option<i32> {
    sys::make_zero_device(&CString::new(path.as_os_str().as_bytes()).ok()?);
    open_device(path).ok()
}

fn open_device(path: &Path) -> std::io::Result<i32> {
    let device = File::options().read(true).write(true).open(path)?;
    Ok(device.into_raw_fd())
}

/// Creates a content file on a ramfs. It keeps its name, since the library may look it up.
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

/// Writes the number of each page into it. The file has a hole and ends inside a page.
fn fill(fd: i32) -> Result<()> {
    // SAFETY: the descriptor is open and owned by the caller; `into_raw_fd` below keeps it open.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(FILE_PAGES * PAGE - PAGE / 2)?;
    for page in (0..FILE_PAGES).filter(|page| !HOLE.contains(page)) {
        file.write_all_at(&(0xf11e_0000 + page).to_ne_bytes(), page * PAGE)?;
    }
    debug_assert_eq!(file.as_raw_fd(), fd);
    let _ = file.into_raw_fd();
    Ok(())
}
