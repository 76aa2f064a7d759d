//! Records the module of a caller that was loaded after the trace was opened, when it first calls.
//!
//! The module is found in maps by its address: the loader's own list is behind a lock that the
//! caller may hold. A fork's child has a trace of its own and starts with no caller known.

use core::sync::atomic::Ordering;

use mremap_plan::procmap::ProcmapQuery;
use mremap_plan::{Range, Vma, maps};
use mremap_trace::Module;

use crate::process::fork_state::WIPED;
use crate::process::seccomp;
use crate::recording::identity;
use crate::recording::ring;
use crate::sys::proc_maps::{Lines, MapsFile};
use crate::sys::text::Text;
use crate::sys::vfork::with_own_descriptors;
use crate::sys::{self, Errno};

/// A longer path is cut.
const PATH_ROOM: usize = 256;

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
    let search = WIPED.code_count.fetch_add(1, Ordering::Relaxed) as usize;
    let Some([start, end]) = WIPED.code_found.get(search) else {
        WIPED.code_count.store(search as u32, Ordering::Relaxed);
        return;
    };
    let Some(code) = find(caller) else { return };
    start.store(code.module.start, Ordering::Relaxed);
    end.store(code.module.end, Ordering::Relaxed);
    if code.path.get().first() == Some(&b'/') {
        ring::append_module(code.module, code.path.get());
    }
}

/// Whether `address` is in a module that was found late.
pub(super) fn was_found(address: u64) -> bool {
    let searches = WIPED.code_count.load(Ordering::Relaxed) as usize;
    WIPED.code_found.iter().take(searches).any(|[start, end]| {
        Range { start: start.load(Ordering::Relaxed), end: end.load(Ordering::Relaxed) }
            .contains(address)
    })
}

/// An executable VMA, as a module. Its path is empty if it has none, its build id if maps do not
/// show it.
struct Code {
    module: Module,
    path: Text<PATH_ROOM>,
}

impl Code {
    fn new(vma: &Vma, build_id: &[u8], path: &[u8]) -> Self {
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
        let mut code = Self { module, path: Text::EMPTY };
        code.path.push(path);
        code
    }
}

/// Finds the executable VMA at `address`; `None` if there is none, or maps cannot be read.
fn find(address: u64) -> Option<Code> {
    let signals = sys::set_blocked_signals(sys::SignalSet::MAX)?;
    let found = with_own_descriptors(|| {
        let mut file = MapsFile::open().ok()?;
        if file.has_query() { query(&mut file, address) } else { search(&mut file, address) }
    });
    sys::set_blocked_signals(signals);
    found.ok().flatten()
}

fn query(file: &mut MapsFile, address: u64) -> Option<Code> {
    let mut path = [0; PATH_ROOM];
    let mut build_id = [0; 20];
    let mut query =
        ProcmapQuery::at_or_above(address, path.as_mut_ptr().addr() as u64, PATH_ROOM as u32);
    query.build_id_addr = build_id.as_mut_ptr().addr() as u64;
    query.build_id_size = build_id.len() as u32;
    match file.query(&mut query) {
        Ok(_) => {
            let vma = query.vma(&path);
            let known = build_id.get(..query.build_id_size as usize).unwrap_or(&build_id);
            let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
            let path = path.get(..end).unwrap_or(&path);
            is_code_at(&vma, address).then(|| Code::new(&vma, known, path))
        }
        // The path is longer.
        Err(Errno(libc::ENAMETOOLONG)) => search(file, address),
        Err(_) => None,
    }
}

/// Reads maps as text.
#[inline(never)] // keeps the buffers off the stack elsewhere
fn search(file: &mut MapsFile, address: u64) -> Option<Code> {
    let mut lines = Lines::new();
    loop {
        let line = maps::parse_line(lines.next(file).ok()??)?;
        if line.vma.range.end > address {
            let is_code = is_code_at(&line.vma, address);
            return is_code.then(|| Code::new(&line.vma, &[], line.path));
        }
    }
}

fn is_code_at(vma: &Vma, address: u64) -> bool {
    vma.range.contains(address) && vma.protection.is_some_and(|known| known.execute)
}
