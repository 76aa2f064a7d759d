//! The modules of a traced process: executable file mappings with their build ids.

use std::fs::File;
use std::path::Path;

use mremap_plan::maps::parse_line;
use mremap_trace::Module;
use object::{Object, ReadCache};

use crate::ptrace::Pid;

/// A module, and its path in the process's own root.
pub(super) struct Found {
    pub(super) module: Module,
    pub(super) path: Vec<u8>,
}

/// Reads the executable file mappings of `thread`; none where `/proc` cannot be read.
pub(super) fn of_process(thread: Pid) -> Vec<Found> {
    let maps = std::fs::read(format!("/proc/{thread}/maps")).unwrap_or_default();
    let lines = maps.split(|&byte| byte == b'\n').filter_map(parse_line);
    let modules = lines.filter(|line| {
        line.path.first() == Some(&b'/') && line.vma.protection.is_some_and(|known| known.execute)
    });
    modules
        .map(|line| {
            let id = build_id(thread, line.path).unwrap_or_default();
            let mut module = Module {
                start: line.vma.range.start,
                end: line.vma.range.end,
                offset: line.vma.offset,
                path_len: 0,
                build_id_len: id.len().min(20) as u8,
                build_id: [0; 20],
                since: 0,
            };
            let kept = id.len().min(20);
            module.build_id[..kept].copy_from_slice(&id[..kept]);
            Found { module, path: line.path.to_vec() }
        })
        .collect()
}

fn build_id(thread: Pid, path: &[u8]) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let within = std::ffi::OsStr::from_bytes(path.strip_prefix(b"/")?);
    let path = Path::new("/proc").join(thread.to_string()).join("root").join(within);
    // Regular files only: opening a FIFO would wait.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let cache = ReadCache::new(File::open(path).ok()?);
    object::File::parse(&cache).ok()?.build_id().ok()?.map(<[u8]>::to_vec)
}
