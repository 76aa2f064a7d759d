//! Records the module of a caller that was loaded after the trace was opened, when it first calls.
//!
//! The module is found in maps by its address: the loader's own list is behind a lock that the
//! caller may hold. A fork's child has a trace of its own and starts with no caller known.
//!
//! A closed library makes room for another one at its address. Every caller is then looked up again
//! at its next call, and a module that is new at its address is recorded with the time from which
//! it may have been there: that of the last `dlclose`.

use core::sync::atomic::{AtomicU64, Ordering};

use mremap_plan::procmap::ProcmapQuery;
use mremap_plan::{Range, Vma, maps};
use mremap_trace::Module;

use crate::process::fork_state::FORK_STATE;
use crate::process::seccomp;
use crate::recording::clock;
use crate::recording::identity;
use crate::recording::ring;
use crate::sys::proc_maps::{Lines, MapsFile};
use crate::sys::text::Text;
use crate::sys::vfork::with_own_descriptors;
use crate::sys::{self, Errno};

/// A longer path is cut.
const PATH_CAPACITY: usize = 256;

/// Makes sure that the caller's module is in the trace. One comparison for a call site seen before.
#[inline]
pub(crate) fn ensure_recorded(caller: u64) {
    let slot = (caller ^ caller >> 9) as usize % FORK_STATE.callers_seen.len();
    if let Some(seen) = FORK_STATE.callers_seen.get(slot)
        && seen.load(Ordering::Relaxed) != caller
    {
        record_module_of(caller);
        seen.store(caller, Ordering::Relaxed);
    }
}

#[cold]
#[inline(never)]
fn record_module_of(caller: u64) {
    if caller == 0 || identity::knows_code_at(caller) || seccomp::is_filtered() {
        return;
    }
    let unloads = u64::from(FORK_STATE.unloads.load(Ordering::Relaxed));
    let entry = match found_at(caller) {
        Some(entry) if entry[3].load(Ordering::Relaxed) == unloads => return,
        Some(entry) => entry,
        None => {
            let search = FORK_STATE.code_count.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(entry) = FORK_STATE.code_found.get(search) else {
                FORK_STATE.code_count.store(search as u32, Ordering::Relaxed);
                return;
            };
            entry
        }
    };
    let Some(mut code) = find(caller) else { return };
    let module = code.module;
    code.module.since = FORK_STATE.unloaded_at.load(Ordering::Relaxed);
    let found = [module.start, module.end, code.identity(), unloads];
    let is_known = entry[2].load(Ordering::Relaxed) == found[2];
    for (word, value) in entry.iter().zip(found) {
        word.store(value, Ordering::Relaxed);
    }
    if !is_known && code.path.get().first() == Some(&b'/') {
        ring::append_module(code.module, code.path.get());
    }
}

/// Has every caller looked up again. Called after a library was closed.
pub(crate) fn forget_unloaded() {
    FORK_STATE.unloaded_at.store(clock::ticks_since_start(), Ordering::Relaxed);
    FORK_STATE.unloads.fetch_add(1, Ordering::Relaxed);
    for seen in &FORK_STATE.callers_seen {
        seen.store(0, Ordering::Relaxed);
    }
}

/// Returns the entry of the code that was found late at `address`.
fn found_at(address: u64) -> Option<&'static [AtomicU64; 4]> {
    let count = FORK_STATE.code_count.load(Ordering::Relaxed) as usize;
    FORK_STATE.code_found.iter().take(count).find(|[start, end, ..]| {
        Range { start: start.load(Ordering::Relaxed), end: end.load(Ordering::Relaxed) }
            .contains(address)
    })
}

/// Whether there is, or was, code at `address` that was found late.
#[cfg(target_arch = "x86_64")]
pub(super) fn was_found(address: u64) -> bool {
    found_at(address).is_some()
}

/// An executable VMA, as a module. Its path is empty if it has none, its build id if maps do not
/// show it.
struct Code {
    module: Module,
    path: Text<PATH_CAPACITY>,
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

    /// Returns a number that other code at the same address hardly has (FNV-1a).
    fn identity(&self) -> u64 {
        let Module { start, end, offset, .. } = self.module;
        let numbers = [start, end, offset];
        let words = numbers.iter().flat_map(|word| word.to_ne_bytes());
        let bytes = words.chain(self.module.build_id).chain(self.path.get().iter().copied());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
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
    let mut path = [0; PATH_CAPACITY];
    let mut build_id = [0; 20];
    let mut query =
        ProcmapQuery::at_or_above(address, path.as_mut_ptr().addr() as u64, PATH_CAPACITY as u32);
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
