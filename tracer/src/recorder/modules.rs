//! The modules of a traced process: executable file mappings with their build ids.

use std::fs::File;

use mremap_plan::maps::parse_line;
use mremap_trace::Module;
use object::{Object, ReadCache};

use crate::procfs;
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
            let id = build_id(thread, line.path, line.inode).unwrap_or_default();
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

/// The build id of a mapping's file. An overlay may show a mapping another inode than the file:
/// then the one of that path is taken.
fn build_id(thread: Pid, path: &[u8], inode: u64) -> Option<Vec<u8>> {
    let file = procfs::file_of_mapping(thread, path, inode);
    let path = file.or_else(|| procfs::in_root(thread, path).filter(|path| path.is_file()))?;
    let cache = ReadCache::new(File::open(path).ok()?);
    object::File::parse(&cache).ok()?.build_id().ok()?.map(<[u8]>::to_vec)
}
