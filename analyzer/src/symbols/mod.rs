//! Symbols of addresses: module, function, file and line, inlined frames.
//!
//! A trace has the path and the build id of each module. The file at the path is used only if its
//! build id is the recorded one; debug information may be in a separate file ([`debug_files`]). An
//! address without a symbol is shown as `module+0xoffset`, which is the same on every machine.

mod debug_files;
mod object_file;
mod packed;
mod perf_map;
mod responsible;
mod site;
mod split_dwarf;
mod unwind;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use clap::Args;

use crate::load::{CodeAddress, NamedModule, Process, Traces};
use crate::model::Event;
use object_file::ObjectFile;
use packed::PackedNames;
pub use packed::{PackedSite, Unwinding};
use perf_map::PerfMap;
pub use responsible::{inner_frames, is_allocator};
use site::hex;
pub use site::{Frame, Site};
use unwind::StackMemory;

/// Where symbols come from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Names of call sites")]
pub struct SymbolOptions {
    /// Root directory of a copy of the recording machine's files.
    #[arg(long, value_name = "DIRECTORY")]
    pub sysroot: Option<PathBuf>,
    /// Further directory of programs or debug files (`.build-id/ab/cdef.debug`, or by name);
    /// repeatable.
    #[arg(long, value_name = "DIRECTORY")]
    pub debug_path: Vec<PathBuf>,
    /// Modules and offsets only.
    #[arg(long)]
    pub no_symbols: bool,
}

/// Path and build id.
type ModuleKey = (String, Vec<u8>);

/// Symbolises addresses, each once.
pub struct Symbols {
    options: SymbolOptions,
    objects: RefCell<HashMap<ModuleKey, Rc<ObjectFile>>>,
    sites: RefCell<HashMap<(usize, CodeAddress), Arc<Site>>>,
    notes: RefCell<BTreeSet<String>>,
    packed: RefCell<PackedNames>,
    perf_maps: RefCell<HashMap<usize, PerfMap>>,
}

impl Symbols {
    /// Makes a symboliser; files are read when they are needed.
    pub fn new(options: SymbolOptions) -> Self {
        Self {
            options,
            objects: RefCell::default(),
            sites: RefCell::default(),
            notes: RefCell::default(),
            packed: RefCell::default(),
            perf_maps: RefCell::default(),
        }
    }

    /// Returns the call site of a return address; `of` is the index of its process.
    pub fn site(&self, process: &Process, process_index: usize, code: CodeAddress) -> Arc<Site> {
        if let Some(site) = self.sites.borrow().get(&(process_index, code)) {
            return Arc::clone(site);
        }
        let site = Arc::new(self.resolve(process, process_index, code));
        self.sites.borrow_mut().insert((process_index, code), Arc::clone(&site));
        site
    }

    /// Returns the return addresses above a call's caller, innermost first: those that were
    /// recorded, or those found in the recorded words of its stack.
    pub fn frames(&self, process: &Process, event: &Event) -> Vec<u64> {
        let found = StackMemory::of(&event.stack_words).map(|memory| {
            memory.unwind(event.call.caller, |registers, memory| {
                // A return address may be the first one of the next function.
                let address = registers.ip.wrapping_sub(1);
                let Some(named) = process.module_at(address, event.call.ticks) else {
                    let code = process.code_at(registers.ip, event.call.ticks);
                    let site = self.site(process, event.process, code);
                    return memory.step_out_of_trampoline(registers).filter(|_| is_python(&site));
                };
                let offset = offset_in_file(named, address);
                self.object(process, named).step(offset, registers, memory)
            })
        });
        let recorded = &event.frames;
        found.filter(|found| found.len() >= recorded.len()).unwrap_or_else(|| recorded.clone())
    }

    /// Returns why symbols are missing, a sentence for each module.
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().iter().cloned().collect()
    }

    /// Returns the call sites that a text matches, among return addresses by process.
    pub fn sites_named(
        &self,
        traces: &Traces,
        text: &str,
        callers: &HashSet<(usize, u64)>,
    ) -> HashSet<(usize, CodeAddress)> {
        let mut sites = HashSet::new();
        for &(process_index, address) in callers {
            let Some(process) = traces.processes.get(process_index) else { continue };
            let codes = process.codes_at(address).into_iter();
            let named = codes.filter(|code| self.site(process, process_index, *code).matches(text));
            sites.extend(named.map(|code| (process_index, code)));
        }
        sites
    }

    /// Returns what a pack keeps of a process: its call sites by address.
    pub fn sites_of(&self, process_index: usize) -> Vec<PackedSite> {
        let sites = self.sites.borrow();
        let own = sites.iter().filter(|((process, _), _)| *process == process_index);
        let mut own: Vec<_> =
            own.map(|((_, at), site)| (at.address, at.module, Site::clone(site))).collect();
        own.sort_by_key(|(address, module, _)| (*address, *module));
        own
    }

    /// Returns what a pack keeps of modules: the unwind tables that were used.
    pub fn unwinding(&self) -> Vec<(Unwinding, Vec<u8>)> {
        let objects = self.objects.borrow();
        let used = objects.iter().filter_map(|((path, build_id), object)| {
            let (segments, table) = object.unwinding()?;
            let (bytes, address) = table.parts();
            let (path, segments) = (path.clone(), segments.to_vec());
            Some((Unwinding { path, build_id: hex(build_id), segments, address }, bytes.to_vec()))
        });
        used.collect()
    }

    fn resolve(&self, process: &Process, process_index: usize, code: CodeAddress) -> Site {
        let address = code.address;
        let mut packed = self.packed.borrow_mut().site(process, process_index, code);
        if let Some(site) = packed.take_if(|site| !site.frames.is_empty()) {
            let frames = if self.options.no_symbols { Vec::new() } else { site.frames };
            return Site { frames, ..site };
        }
        let Some(named) = process.module_of(code) else {
            let frames = self.jit_frame(process, process_index, address).into_iter().collect();
            return Site { frames, ..Site::bare(address) };
        };
        // The call is before the address it returns to.
        let offset = offset_in_file(named, address);
        let mut site = Site::in_module(&named.path, offset, build_id(named));
        if self.options.no_symbols {
            return site;
        }
        let object = self.object(process, named);
        site.frames = object.frames(offset.wrapping_sub(1));
        let partial = object.partial.as_ref().filter(|_| site.frames.is_empty());
        if let Some(note) = object.note.as_ref().or(partial) {
            self.notes.borrow_mut().insert(note.clone());
            site.note = Some(note.clone());
        }
        site
    }

    fn jit_frame(&self, process: &Process, process_index: usize, address: u64) -> Option<Frame> {
        if self.options.no_symbols {
            return None;
        }
        let mut maps = self.perf_maps.borrow_mut();
        let map = maps
            .entry(process_index)
            .or_insert_with(|| PerfMap::of(&self.options, &process.header));
        map.frame(address.wrapping_sub(1))
    }

    fn object(&self, process: &Process, named: &NamedModule) -> Rc<ObjectFile> {
        let key = (named.path.clone(), build_id(named).to_vec());
        if let Some(object) = self.objects.borrow().get(&key) {
            return Rc::clone(object);
        }
        let mut object = ObjectFile::find(&self.options, &key.0, &key.1);
        let unwinding = PackedNames::unwinding(process, &key.0, &hex(&key.1));
        if let Some((segments, table)) = unwinding.filter(|_| !object.has_code()) {
            object.set_unwinding(segments, table);
        }
        let object = Rc::new(object);
        self.objects.borrow_mut().insert(key, Rc::clone(&object));
        object
    }
}

/// Whether a call site is a trampoline by which `CPython` calls a function under `-X perf`.
fn is_python(site: &Site) -> bool {
    let function = site.frames.first().and_then(|frame| frame.function.as_deref());
    site.module.is_none() && function.is_some_and(|name| name.starts_with("py::"))
}

fn offset_in_file(named: &NamedModule, address: u64) -> u64 {
    address.wrapping_sub(named.module.start).wrapping_add(named.module.offset)
}

fn build_id(named: &NamedModule) -> &[u8] {
    let len = usize::from(named.module.build_id_len);
    named.module.build_id.get(..len).unwrap_or(&[])
}
