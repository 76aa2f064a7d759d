//! What distinguishes a process from others that have or had its id: its pid namespace, and when it
//! started. Both are looked up by id, because a helper process may open the trace (`sys::vfork`).

use core::ffi::CStr;

use mremap_settings::parse_number;

use crate::sys::text::Text;
use crate::sys::{self, OpenFile};

/// Inode of the pid namespace of a process; 0 if unknown.
pub(crate) fn pid_namespace(pid: u32) -> u64 {
    // `pid:[4026531836]`
    let mut link = [0; 64];
    let len = with_path(pid, b"/ns/pid\0", |path| sys::readlink(path, &mut link).ok());
    let link = link.get(..len.unwrap_or(0)).unwrap_or(&[]);
    let inode = link.strip_prefix(b"pid:[").and_then(|rest| rest.strip_suffix(b"]"));
    inode.and_then(parse_number).unwrap_or(0)
}

/// When a process started: field 22 of its `stat`; 0 if unknown.
pub(crate) fn start_time(pid: u32) -> u64 {
    let mut stat = [0; 512];
    let read = |path: &CStr| OpenFile::open(path).and_then(|file| file.read(&mut stat)).ok();
    let len = with_path(pid, b"/stat\0", read);
    let stat = stat.get(..len.unwrap_or(0)).unwrap_or(&[]);
    // The name, field 2, may contain spaces and parentheses.
    let after_name = stat.rsplit(|&byte| byte == b')').next().unwrap_or(&[]);
    after_name.split(|&byte| byte == b' ').nth(20).and_then(parse_number).unwrap_or(0)
}

/// Calls `work` with a path below the process's directory in `/proc`.
fn with_path<T>(pid: u32, name: &[u8], work: impl FnOnce(&CStr) -> Option<T>) -> Option<T> {
    let mut path = Text::<32>::EMPTY;
    path.push(b"/proc/");
    path.push_number(u64::from(pid));
    path.push(name);
    CStr::from_bytes_with_nul(path.get()).ok().and_then(work)
}
