//! A module's symbols: its file, identified by its build id, and its debug information.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::io::Read;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{CompressionFormat, Object, ObjectSection, ReadCache, elf};
use tracing::debug;

use super::debug_files::{debug_files, fetch, has_servers, module_files, supplements};
use super::split_dwarf::missing_dwo;
use super::unwind::{Registers, StackMemory, UnwindTable};
use super::{Frame, SymbolOptions};
use crate::load::open_regular;
use crate::model::units::printable;

/// Longest file that is read as a module, in bytes.
const MAX_BYTES: u64 = 8 << 30;
/// Limit on expanded sections of one file, in bytes: a small file can claim any number.
const MAX_EXPANDED: u64 = 2 << 30;
/// Limit on frames of one address.
const MAX_FRAMES: usize = 64;

/// A loaded segment: offset in the file, virtual address, length, in bytes.
pub type Segment = (u64, u64, u64);

/// A module's symbols, as far as they were found.
#[derive(Default)]
pub struct ObjectFile {
    /// Loaded segments.
    segments: Vec<Segment>,
    loaders: Vec<Loader>,
    /// The module itself, and its unwind table once one is needed.
    code: Option<PathBuf>,
    unwind_table: OnceCell<Option<UnwindTable>>,
    /// Why there are no symbols.
    pub note: Option<String>,
    /// Why some addresses have no symbol although the module was found.
    pub partial: Option<String>,
}

/// The identity of an ELF file.
struct Identity {
    build_id: Vec<u8>,
    link: Option<(String, u32)>,
    /// Name and build id of the file that shares debug information with others (dwz).
    supplement: Option<(String, Vec<u8>)>,
    has_lines: bool,
    /// Bytes that its compressed sections claim to take.
    expanded: u64,
    segments: Vec<Segment>,
}

impl ObjectFile {
    /// Finds the module and its debug information.
    pub fn find(options: &SymbolOptions, path: &str, build_id: &[u8]) -> Self {
        let mut found = Self::default();
        let mut other_build = None;
        let mut module: Option<(PathBuf, Identity)> = None;
        for file in module_files(options, path, build_id) {
            match Identity::of(&file) {
                Some(identity) if build_id.is_empty() || identity.build_id == build_id => {
                    module = Some((file, identity));
                    break;
                }
                Some(_) => other_build = other_build.or(Some(file)),
                None => {}
            }
        }
        let link = module.as_ref().and_then(|(_, identity)| identity.link.clone());
        let candidates = debug_files(
            options,
            path,
            build_id,
            module.as_ref().map(|(file, _)| file.as_path()),
            link.as_ref().map(|(name, _)| name.as_str()),
        );
        let fits = |file: &Path, identity: &Identity| {
            if build_id.is_empty() {
                link.as_ref().is_some_and(|(_, crc)| checksum(file) == Some(*crc))
            } else {
                identity.build_id == build_id
            }
        };
        let usable = |file: PathBuf| {
            let identity = Identity::of(&file).filter(|identity| identity.has_lines)?;
            fits(&file, &identity).then_some((file, identity))
        };
        let is_complete = module.as_ref().is_some_and(|(_, identity)| identity.has_lines);
        let debug = candidates.into_iter().find_map(usable);
        let fetched = || fetch(build_id).filter(|_| !is_complete).and_then(usable);
        let debug = debug.or_else(fetched);
        // A debug file has the addresses of the segments, but not always their offsets.
        if let Some((_, identity)) = module.as_ref().or(debug.as_ref()) {
            found.segments.clone_from(&identity.segments);
        }
        found.code = module.as_ref().map(|(file, _)| file.clone());
        if debug.is_none() && module.as_ref().is_some_and(|(_, identity)| !identity.has_lines) {
            found.partial = Some(format!(
                "{path}: it has no debug information and none is installed, so functions of its own are shown by \
                 offset; install its debug package, {}, or name its directory with --debug-path",
                if has_servers() { "or debuginfod's client" } else { "set DEBUGINFOD_URLS" }
            ));
        }
        for (file, identity) in debug.into_iter().chain(module) {
            if identity.expanded > MAX_EXPANDED {
                found.note = Some(format!(
                    "{}: its compressed sections claim {} bytes, more than {MAX_EXPANDED}: not read",
                    printable(&file.to_string_lossy()),
                    identity.expanded
                ));
                continue;
            }
            debug!(file = %file.display(), "symbols from");
            found.load(options, &file, &identity);
        }
        if found.loaders.is_empty() && found.note.is_none() {
            found.note = Some(reason(path, other_build.as_deref()));
        }
        found
    }

    /// Reads the debug information of a file, and notes what is missing.
    fn load(&mut self, options: &SymbolOptions, file: &Path, identity: &Identity) {
        let shown = printable(&file.to_string_lossy());
        let mut supplement = None;
        if let Some((name, build_id)) = &identity.supplement {
            let fits = |file: &PathBuf| {
                Identity::of(file)
                    .is_some_and(|it| it.build_id == *build_id && it.expanded <= MAX_EXPANDED)
            };
            let mut files = supplements(options, file, name, build_id).into_iter();
            supplement = files.find(fits).or_else(|| fetch(build_id).filter(fits));
            if supplement.is_none() {
                self.note = Some(format!(
                    "{shown}: its debug information continues in {} (dwz), which was not found, so functions \
                     may have no names; install its debug package, or name the file's directory with --debug-path",
                    printable(name)
                ));
            }
        }
        match Loader::new_with_sup(file, supplement) {
            Ok(loader) => self.loaders.push(loader),
            Err(error) => {
                let error = printable(&error.to_string());
                self.note = Some(format!("{shown}: its debug information cannot be read: {error}"));
            }
        }
        if let Some(dwo) = missing_dwo(file) {
            self.note = Some(format!(
                "{shown}: part of its debug information is in files like {}, which were not found, so inlined \
                 functions have no names; copy them there, or combine them to {shown}.dwp",
                printable(&dwo.to_string_lossy())
            ));
        }
    }

    /// Whether the module itself was found.
    pub fn has_code(&self) -> bool {
        self.code.is_some()
    }

    /// Returns the segments and the unwind table, if it was needed.
    pub fn unwinding(&self) -> Option<(&[Segment], &UnwindTable)> {
        Some((&self.segments, self.unwind_table.get()?.as_ref()?))
    }

    /// Sets segments and unwind table, for a module that is not on this machine.
    pub fn set_unwinding(&mut self, segments: Vec<Segment>, table: UnwindTable) {
        self.segments = segments;
        self.unwind_table = OnceCell::from(Some(table));
    }

    fn virtual_address(&self, offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| offset.wrapping_sub(segment.0) < segment.2;
        let (start, address, _) = self.segments.iter().find(holds)?;
        Some(address.wrapping_add(offset.wrapping_sub(*start)))
    }

    /// Finds the registers of the caller of the function at an offset in the module's file, by its
    /// unwind table; `None` if it has none.
    pub fn step(
        &self,
        offset: u64,
        registers: Registers,
        memory: &StackMemory,
    ) -> Option<Registers> {
        let table = self.unwind_table.get_or_init(|| unwind_table(self.code.as_deref()?));
        table.as_ref()?.step(self.virtual_address(offset)?, registers, memory)
    }

    /// Returns the frames at an offset in the module's file, innermost first.
    pub fn frames(&self, offset: u64) -> Vec<Frame> {
        let Some(address) = self.virtual_address(offset) else {
            return Vec::new();
        };
        let with_lines = self.loaders.iter().find_map(|loader| frames_of(loader, address));
        with_lines
            .or_else(|| self.loaders.iter().find_map(|loader| symbol_of(loader, address)))
            .unwrap_or_default()
    }
}

/// Reads the unwind table of a module.
fn unwind_table(path: &Path) -> Option<UnwindTable> {
    let cache = ReadCache::new(open_regular(path).ok()?);
    let file = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
    let section = file.section_by_name(".eh_frame")?;
    Some(UnwindTable::new(section.data().ok()?.to_vec(), section.address()))
}

fn reason(path: &str, other_build: Option<&Path>) -> String {
    match other_build {
        Some(file) => format!(
            "{}: its build id is not the recorded one (rebuilt or replaced since), so {path} is shown by offset; \
             name a directory with the recorded build with --debug-path or --sysroot",
            file.display()
        ),
        None if path.contains(char::REPLACEMENT_CHARACTER) => format!(
            "{path}: this path is not UTF-8 and cannot be looked up, so it is shown by offset; put the file under \
             a directory of --debug-path/.build-id"
        ),
        None => format!(
            "{path}: not found on this machine, so it is shown by offset; name its directory with --debug-path, or a \
             copy of the machine's files with --sysroot"
        ),
    }
}

fn frames_of(loader: &Loader, address: u64) -> Option<Vec<Frame>> {
    let mut found = Vec::new();
    let mut frames = loader.find_frames(address).ok()?;
    while let Ok(Some(frame)) = frames.next() {
        if found.len() == MAX_FRAMES {
            break;
        }
        let function = frame.function.as_ref().and_then(|function| function.demangle().ok());
        found.push(Frame {
            function: function.as_deref().map(printable),
            file: frame.location.as_ref().and_then(|place| place.file).map(printable),
            line: frame.location.as_ref().and_then(|place| place.line),
        });
    }
    let names = |frame: &Frame| frame.function.is_some() || frame.line.is_some();
    if !found.iter().any(names) {
        return None;
    }
    if let Some(last) = found.last_mut().filter(|last| last.function.is_none()) {
        last.function = loader.find_symbol(address).map(demangle);
    }
    Some(found)
}

fn symbol_of(loader: &Loader, address: u64) -> Option<Vec<Frame>> {
    let symbol = loader.find_symbol_info(address)?;
    let within = address.wrapping_sub(symbol.address());
    Some(vec![Frame {
        function: Some(format!("{}+{within:#x}", demangle(symbol.name()))),
        ..Frame::default()
    }])
}

/// Demangles the name of a symbol. C names stay: the C++ demangler takes `w` as the type `wchar_t`.
fn demangle(name: &str) -> String {
    if !name.starts_with("_Z") && !name.starts_with("_R") {
        return printable(name);
    }
    printable(&addr2line::demangle_auto(Cow::Borrowed(name), None))
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let file = open_regular(path).ok()?;
        let metadata = file.metadata().ok()?;
        if metadata.len() > MAX_BYTES {
            return None;
        }
        let cache = ReadCache::new(file);
        let file = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
        let endian = file.endian();
        let loaded = file
            .elf_program_headers()
            .iter()
            .filter(|header| header.p_type(endian) == elf::PT_LOAD);
        let compressed = file.sections().filter_map(|section| section.compressed_file_range().ok());
        let expanded = compressed
            .filter(|range| range.format != CompressionFormat::None)
            .fold(0, |sum: u64, range| sum.saturating_add(range.uncompressed_size));
        let link = file.gnu_debuglink().ok().flatten();
        let supplement = file.gnu_debugaltlink().ok().flatten();
        Some(Self {
            build_id: file.build_id().ok().flatten().unwrap_or_default().to_vec(),
            link: link.map(|(name, crc)| (String::from_utf8_lossy(name).into_owned(), crc)),
            supplement: supplement
                .map(|(name, id)| (String::from_utf8_lossy(name).into_owned(), id.to_vec())),
            expanded,
            has_lines: file
                .section_by_name(".debug_info")
                .is_some_and(|section| section.size() > 0 && section.file_range().is_some()),
            segments: loaded
                .map(|h| (h.p_offset(endian), h.p_vaddr(endian), h.p_memsz(endian)))
                .collect(),
        })
    }
}

/// Returns the checksum of a file as `.gnu_debuglink` has it.
fn checksum(path: &Path) -> Option<u32> {
    let mut file = open_regular(path).ok()?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finalize()),
            read => hasher.update(buffer.get(..read)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn demangles_cpp_and_rust_names_only() {
        assert_eq!(demangle("w"), "w");
        assert_eq!(demangle("main"), "main");
        assert_eq!(demangle("_Z4growPvm"), "grow(void*, unsigned long)");
        assert_eq!(demangle("_ZN4core3ops5range17h0123456789abcdefE"), "core::ops::range");
    }
}
