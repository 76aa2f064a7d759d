//! Addresses into names: module, function, file and line, inlined frames.
//!
//! A module is named by its path and its build id. The file at that path is believed only when its build id
//! is the recorded one; debug information may lie in a file of its own ([`debug_files`]). What cannot be
//! named stays `module+0xoffset`, which is right on every machine.

mod debug_files;
mod object_file;
mod site;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use clap::Args;

use crate::load::{NamedModule, Process, Traces};
use crate::model::Filter;
use object_file::ObjectFile;
pub use site::{Frame, Site};

/// Where symbols come from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Names of call sites")]
pub struct SymbolOptions {
    /// Root directory of a copy of the recording machine's files.
    #[arg(long, value_name = "DIRECTORY")]
    pub sysroot: Option<PathBuf>,
    /// Further directory of programs or debug files (`.build-id/ab/cdef.debug`, or by name); repeatable.
    #[arg(long, value_name = "DIRECTORY")]
    pub debug_path: Vec<PathBuf>,
    /// Modules and offsets only.
    #[arg(long)]
    pub no_symbols: bool,
}

/// Path and build id.
type ModuleKey = (String, Vec<u8>);

/// Names call sites; each address once.
pub struct Symbols {
    options: SymbolOptions,
    objects: RefCell<HashMap<ModuleKey, Rc<ObjectFile>>>,
    sites: RefCell<HashMap<(usize, u64), Arc<Site>>>,
    notes: RefCell<BTreeSet<String>>,
}

impl Symbols {
    /// Knows nothing yet.
    pub fn new(options: SymbolOptions) -> Self {
        Self {
            options,
            objects: RefCell::default(),
            sites: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// The call site of a return address; `of` is the index of its process.
    pub fn site(&self, process: &Process, of: usize, address: u64) -> Arc<Site> {
        if let Some(site) = self.sites.borrow().get(&(of, address)) {
            return Arc::clone(site);
        }
        let site = Arc::new(self.resolve(process, address));
        self.sites.borrow_mut().insert((of, address), Arc::clone(&site));
        site
    }

    /// Why some names are missing, a sentence for each module concerned.
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().iter().cloned().collect()
    }

    /// Turns the text of `--site` into the addresses it means, among those that occur.
    pub fn pick_sites(
        &self,
        traces: &Traces,
        filter: &mut Filter,
        callers: &HashSet<(usize, u64)>,
    ) {
        let Some(text) = filter.site.clone() else { return };
        let names = |(of, address): &&(usize, u64)| {
            let process = traces.processes.get(*of);
            process.is_some_and(|process| self.site(process, *of, *address).matches(&text))
        };
        filter.sites = Some(callers.iter().filter(names).copied().collect());
    }

    fn resolve(&self, process: &Process, address: u64) -> Site {
        let Some(named) = process.module_of(address) else {
            return Site::bare(address);
        };
        // The address of the call lies before the one it returns to.
        let offset = address.wrapping_sub(named.module.start).wrapping_add(named.module.offset);
        let mut site = Site::in_module(&named.path, offset, build_id(named));
        if self.options.no_symbols {
            return site;
        }
        let object = self.object(named);
        site.frames = object.frames(offset.wrapping_sub(1));
        if let Some(note) = &object.note {
            self.notes.borrow_mut().insert(note.clone());
            site.note = Some(note.clone());
        }
        site
    }

    fn object(&self, named: &NamedModule) -> Rc<ObjectFile> {
        let key = (named.path.clone(), build_id(named).to_vec());
        if let Some(object) = self.objects.borrow().get(&key) {
            return Rc::clone(object);
        }
        let object = Rc::new(ObjectFile::find(&self.options, &key.0, &key.1));
        self.objects.borrow_mut().insert(key, Rc::clone(&object));
        object
    }
}

fn build_id(named: &NamedModule) -> &[u8] {
    let len = usize::from(named.module.build_id_len);
    named.module.build_id.get(..len).unwrap_or(&[])
}
