//! What `/proc` tells of a process: `process` is its id, or `self`.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::ptrace::Pid;

/// A number of `/proc/PID/status`.
pub(crate) fn status_number(process: impl Display, field: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}

/// The letter of a thread's state: `D` is uninterruptible sleep. `None` if the thread is gone.
pub(crate) fn state(thread: impl Display) -> Option<char> {
    after_name(thread)?.trim_start().chars().next()
}

/// The threads of a process.
pub(crate) fn threads(process: Pid) -> Vec<Pid> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The path of a file of a process in that process's own root, as this process opens it.
pub(crate) fn in_root(process: impl Display, path: &[u8]) -> Option<PathBuf> {
    let within = OsStr::from_bytes(path.strip_prefix(b"/")?);
    Some(Path::new("/proc").join(process.to_string()).join("root").join(within))
}

/// Finds the regular file of a mapping. `maps` names it from the root of a container, but for a
/// process in a `chroot` from this process's own root.
pub(crate) fn file_of_mapping(process: impl Display, path: &[u8], inode: u64) -> Option<PathBuf> {
    let outside = PathBuf::from(OsStr::from_bytes(path));
    // Regular files only: opening a FIFO would wait.
    let is_same =
        |path: &PathBuf| path.metadata().is_ok_and(|file| file.is_file() && file.ino() == inode);
    [in_root(process, path)?, outside].into_iter().find(is_same)
}

/// Whether this process traces a thread.
pub(crate) fn is_traced_by_us(thread: Pid) -> bool {
    status_number(thread, "TracerPid:") == Some(std::process::id())
}

/// When a process started: field 22 of its `stat`.
pub fn start_time(process: impl Display) -> Option<u64> {
    after_name(process)?.split_whitespace().nth(19)?.parse().ok()
}

/// The fields of `stat` from the third on. The second may contain spaces and parentheses.
fn after_name(process: impl Display) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.to_owned())
}

/// Inode of a process's pid namespace; 0 if unknown.
pub fn pid_namespace(process: impl Display) -> u64 {
    fs::metadata(format!("/proc/{process}/ns/pid")).map_or(0, |namespace| namespace.ino())
}

/// This machine's boot id; zeros if unknown.
pub fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0).to_be_bytes()
}
