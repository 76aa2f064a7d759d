//! Units whose debug information is in files of their own: `-gsplit-dwarf`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use addr2line::gimli::{DwarfSections, EndianSlice, NativeEndian, SectionId};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ReadCache};

use crate::load::open_regular;

/// Units that are looked at: mostly all are compiled alike.
const MAX_UNITS: usize = 16;
/// What the name of a unit's file is read from.
const SECTIONS: [SectionId; 7] = [
    SectionId::DebugInfo,
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugLine,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugLineStr,
];

/// Returns the first file with debug information of `module` that is missing; `None` if all are
/// there.
pub fn missing_dwo(module: &Path) -> Option<PathBuf> {
    let mut package = module.as_os_str().to_owned();
    package.push(".dwp");
    if Path::new(&package).exists() {
        return None;
    }
    let cache = ReadCache::new(open_regular(module).ok()?);
    let file = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    // Units that are split have their addresses there.
    file.section_by_name(".debug_addr")?;
    let sections = DwarfSections::load(|id| {
        let section = file.section_by_name(id.name()).filter(|_| SECTIONS.contains(&id));
        section.map_or(Ok(Cow::Borrowed(&[][..])), |section| section.uncompressed_data())
    });
    let sections = sections.ok()?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, NativeEndian));
    let mut units = dwarf.units();
    for _ in 0..MAX_UNITS {
        let unit = dwarf.unit(units.next().ok()??).ok()?;
        let Some(name) = unit.dwo_name().ok()? else { continue };
        let name = dwarf.attr_string(&unit, name).ok()?.to_string_lossy();
        let directory = unit.comp_dir.map(|it| it.to_string_lossy()).unwrap_or_default();
        let path = Path::new(&*directory).join(&*name);
        if !path.is_file() {
            return Some(path);
        }
    }
    None
}
