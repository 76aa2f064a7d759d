//! Names that a pack brings along.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::object_file::Segment;
use super::unwind::UnwindTable;
use super::{Frame, Site};
use crate::load::{CodeAddress, Process};
use crate::model::units::printable;

/// A module whose unwind table is in a pack.
#[derive(Serialize, Deserialize)]
pub struct Unwinding {
    /// Path of the module.
    pub path: String,
    /// Build id, hexadecimal.
    pub build_id: String,
    /// Its segments.
    pub segments: Vec<Segment>,
    /// Virtual address of the table.
    pub address: u64,
}

/// A call site in a pack: its address, and the module there, as in [`CodeAddress`].
pub type PackedSite = (u64, u32, Site);

/// Call sites by the index of their process and by address.
#[derive(Default)]
pub struct PackedNames {
    sites: HashMap<usize, HashMap<CodeAddress, Site>>,
}

impl PackedNames {
    /// Returns the call site that the pack of a process has for an address.
    pub fn site(
        &mut self,
        process: &Process,
        process_index: usize,
        code: CodeAddress,
    ) -> Option<Site> {
        let in_pack = process.in_pack.as_ref()?;
        let sites = self.sites.entry(process_index).or_insert_with(|| {
            let bytes = in_pack.pack.entry(&format!("{}/sites.json", in_pack.number));
            let sites = bytes.and_then(|it| serde_json::from_slice::<Vec<PackedSite>>(it).ok());
            let sites = sites.unwrap_or_default().into_iter();
            sites.map(|(address, module, site)| (CodeAddress { address, module }, site)).collect()
        });
        sites.get(&code).cloned().map(cleaned)
    }

    /// Returns segments and unwind table that the pack of a process has for a module.
    pub fn unwinding(
        process: &Process,
        path: &str,
        build_id: &str,
    ) -> Option<(Vec<Segment>, UnwindTable)> {
        let pack = &process.in_pack.as_ref()?.pack;
        let modules: Vec<Unwinding> = serde_json::from_slice(pack.entry("unwind.json")?).ok()?;
        let is_wanted = |it: &Unwinding| it.path == path && it.build_id == build_id;
        let number = modules.iter().position(is_wanted)?;
        let module = modules.into_iter().nth(number)?;
        let bytes = pack.entry(&format!("unwind/{number}.eh_frame"))?;
        Some((module.segments, UnwindTable::new(bytes.to_vec(), module.address)))
    }
}

/// Escapes what a terminal would obey.
fn cleaned(site: Site) -> Site {
    let clean = |text: Option<String>| text.map(|text| printable(&text));
    let frame = |it: Frame| Frame { function: clean(it.function), file: clean(it.file), ..it };
    Site {
        module: clean(site.module),
        build_id: printable(&site.build_id),
        via: clean(site.via),
        frames: site.frames.into_iter().map(frame).collect(),
        note: clean(site.note),
        ..site
    }
}
