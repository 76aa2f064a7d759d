//! Records the module of a caller that was loaded after the trace was opened, when it first calls.
//!
//! The module is found in maps by its address: the loader's own list is behind a lock that the caller may
//! hold. A fork's child has a trace of its own and starts with no caller known.

use core::ffi::CStr;
use core::sync::atomic::Ordering;

use mremap_plan::procmap::ProcmapQuery;
use mremap_plan::{Range, Vma, maps};
use mremap_trace::Module;

use crate::emulate::move_lock::MoveLock;
use crate::process::fork_state::WIPED;
use crate::process::seccomp;
use crate::recording::identity;
use crate::recording::ring;
use crate::sys::{Errno, OpenFile};

/// `/proc/self` is empty once the main thread has exited; this is not.
const MAPS: &CStr = c"/proc/thread-self/maps";
/// A longer path is cut.
const PATH_ROOM: usize = 256;
/// The columns before a path take 73 bytes.
const LINE_ROOM: usize = 73 + PATH_ROOM;

/// Makes sure that the caller's module is in the trace. One comparison for a call site seen before.
#[inline]
pub(crate) fn ensure_recorded(caller: u64) {
    let slot = (caller ^ caller >> 9) as usize % WIPED.callers_seen.len();
    if let Some(seen) = WIPED.callers_seen.get(slot)
        && seen.load(Ordering::Relaxed) != caller
    {
        record_module_of(caller);
        seen.store(caller, Ordering::Relaxed);
    }
}

#[cold]
#[inline(never)]
fn record_module_of(caller: u64) {
    if caller == 0 || identity::knows_code_at(caller) || was_found(caller) || seccomp::is_filtered()
    {
        return;
    }
    let count = WIPED.code_count.load(Ordering::Relaxed) as usize;
    let Some([start, end]) = WIPED.code_found.get(count) else {
        return;
    };
    // No fork may inherit the descriptor of maps.
    let _lock = MoveLock::acquire();
    find_code(caller, |vma, build_id, path| {
        // A handler that does the same meanwhile takes the same entry: one of the two is found again later.
        start.store(vma.range.start, Ordering::Relaxed);
        end.store(vma.range.end, Ordering::Relaxed);
        WIPED.code_count.store(count as u32 + 1, Ordering::Relaxed);
        if path.first() == Some(&b'/') {
            ring::append_module(module_of(vma, build_id), path);
        }
    });
}

/// Whether `address` is in a module that was found late.
pub(super) fn was_found(address: u64) -> bool {
    let count = WIPED.code_count.load(Ordering::Relaxed) as usize;
    WIPED.code_found.iter().take(count).any(|[start, end]| {
        Range { start: start.load(Ordering::Relaxed), end: end.load(Ordering::Relaxed) }
            .contains(address)
    })
}

fn module_of(vma: &Vma, build_id: &[u8]) -> Module {
    let mut module = Module {
        start: vma.range.start,
        end: vma.range.end,
        offset: vma.offset,
        ..Module::default()
    };
    for (to, from) in module.build_id.iter_mut().zip(build_id) {
        *to = *from;
        module.build_id_len += 1;
    }
    module
}

/// Finds the executable VMA at `address` and passes it to `take` with its build id and its path, each empty
/// where it has none or `/proc` does not tell. Does nothing where maps cannot be read.
fn find_code(address: u64, take: impl FnOnce(&Vma, &[u8], &[u8])) {
    let Ok(file) = OpenFile::open(MAPS) else { return };
    let mut path = [0; PATH_ROOM];
    let mut build_id = [0; 20];
    let mut query =
        ProcmapQuery::at_or_above(address, path.as_mut_ptr().addr() as u64, PATH_ROOM as u32);
    query.build_id_addr = build_id.as_mut_ptr().addr() as u64;
    query.build_id_size = build_id.len() as u32;
    match file.procmap_query(&mut query) {
        Ok(_) => {
            let vma = query.vma(&path);
            let known = build_id.get(..query.build_id_size as usize).unwrap_or(&build_id);
            let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
            if is_code_at(&vma, address) {
                take(&vma, known, path.get(..end).unwrap_or(&path));
            }
        }
        Err(Errno(libc::ENOENT)) => {}
        Err(_) => find_code_in_text(&file, address, take),
    }
}

/// [`find_code`] on a kernel without `PROCMAP_QUERY` (before 6.11).
#[inline(never)] // keeps the buffers off the stack elsewhere
fn find_code_in_text(file: &OpenFile, address: u64, take: impl FnOnce(&Vma, &[u8], &[u8])) {
    let mut read = [0; 512];
    let mut line = [0; LINE_ROOM];
    let mut len = 0;
    loop {
        let filled = file.read(&mut read).unwrap_or(0);
        if filled == 0 {
            return;
        }
        for &byte in read.iter().take(filled) {
            if byte != b'\n' {
                if let Some(end) = line.get_mut(len) {
                    *end = byte;
                    len += 1;
                }
                continue;
            }
            let parsed = line.get(..len).and_then(maps::parse_line);
            len = 0;
            let Some(parsed) = parsed.filter(|line| line.vma.range.end > address) else { continue };
            if is_code_at(&parsed.vma, address) {
                take(&parsed.vma, &[], parsed.path);
            }
            return;
        }
    }
}

fn is_code_at(vma: &Vma, address: u64) -> bool {
    vma.range.contains(address) && vma.protection.is_some_and(|known| known.execute)
}
