//! What an ELF file says of the program in it.

use std::fs::File;
use std::path::Path;

use object::elf;
use object::read::ReadCache;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader, Sym};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};

use super::calls::Calls;
use super::obstacle::Obstacle;

/// Sanitizers that refuse to run unless they are the first library of a process.
pub const SANITIZERS: [&str; 4] = ["libasan", "libhwasan", "libtsan", "liblsan"];
/// QEMU's names for the machines of ELF.
const QEMU_NAMES: [(elf::Machine, &str); 8] = [
    (elf::EM_X86_64, "x86_64"),
    (elf::EM_AARCH64, "aarch64"),
    (elf::EM_386, "i386"),
    (elf::EM_ARM, "arm"),
    (elf::EM_RISCV, "riscv64"),
    (elf::EM_PPC64, "ppc64le"),
    (elf::EM_S390, "s390x"),
    (elf::EM_LOONGARCH, "loongarch64"),
];
const OWN_MACHINE: elf::Machine =
    if cfg!(target_arch = "x86_64") { elf::EM_X86_64 } else { elf::EM_AARCH64 };

/// A dynamically linked glibc program for this machine.
#[derive(Debug, Default)]
pub struct Elf {
    /// The loader it names; `None` when the file is the loader itself.
    pub loader: Option<String>,
    /// The libraries it names.
    pub needed: Vec<String>,
    /// Whether it is written in Go, whose runtime makes system calls itself.
    pub is_go: bool,
}

impl Elf {
    /// Reads a file whose first bytes are `start`.
    ///
    /// # Errors
    /// Why a preload library cannot reach it.
    pub fn read(path: &Path, start: &[u8], file: File) -> Result<Self, Obstacle> {
        check_start(path, start)?;
        let damaged = |what: &str| Obstacle::new(path, what, "build it again or get another copy");
        let bytes = ReadCache::new(file);
        let header = elf::FileHeader64::<Endianness>::parse(&bytes)
            .map_err(|_| damaged("its ELF header is damaged"))?;
        let endian = header.endian().map_err(|_| damaged("its ELF header is damaged"))?;
        check_machine(path, header.e_machine(endian))?;
        let segments = header
            .program_headers(endian, &bytes)
            .map_err(|_| damaged("its ELF program headers are damaged"))?;
        let loader = segments
            .iter()
            .find_map(|segment| segment.interpreter(endian, &bytes).ok().flatten())
            .map(|name| String::from_utf8_lossy(name).into_owned());
        check_loader(path, loader.as_deref())?;
        Ok(Self { loader, ..Self::of_object(&bytes) })
    }

    fn of_object(bytes: &ReadCache<File>) -> Self {
        let Ok(object) = ElfFile64::<Endianness, _>::parse(bytes) else {
            return Self::default();
        };
        Self {
            needed: needed(&object),
            is_go: object.section_by_name(".go.buildinfo").is_some(),
            ..Self::default()
        }
    }

    /// The libraries of sanitizers among those it names.
    pub fn sanitizers(&self) -> impl Iterator<Item = &str> {
        let is_one = |name: &&str| SANITIZERS.iter().any(|sanitizer| name.starts_with(sanitizer));
        self.needed.iter().map(String::as_str).filter(is_one)
    }
}

fn check_start(path: &Path, start: &[u8]) -> Result<(), Obstacle> {
    if !start.starts_with(&elf::ELFMAG) {
        return Err(Obstacle::new(
            path,
            "neither an ELF program nor a script",
            "start a script with a line such as #!/bin/sh",
        ));
    }
    if start.get(4) == Some(&elf::ELFCLASS32.0) {
        let machine = elf::Machine(u16::from_le_bytes([byte(start, 18), byte(start, 19)]));
        let remedy = format!("run a 64-bit build, or {}", under_qemu(machine, path));
        return Err(Obstacle::new(path, "a 32-bit program; the shim is 64-bit", &remedy));
    }
    Ok(())
}

fn check_machine(path: &Path, machine: elf::Machine) -> Result<(), Obstacle> {
    if machine == OWN_MACHINE {
        return Ok(());
    }
    let remedy = format!("run it on such a machine, or {}", under_qemu(machine, path));
    Err(Obstacle::new(path, "built for another architecture", &remedy))
}

fn check_loader(path: &Path, loader: Option<&str>) -> Result<(), Obstacle> {
    let (reason, remedy) = match loader {
        Some(name) if name.contains("ld-linux") || name.contains("ld-musl") => return Ok(()),
        None if is_loader(path) => return Ok(()),
        Some(name) => (
            format!("its loader is {name}; the shim works with those of glibc and musl"),
            "run a build for glibc or musl",
        ),
        None => {
            ("statically linked, so no library can be preloaded".to_owned(), "link it dynamically")
        }
    };
    let remedy = format!(
        "{remedy}, or let a tracer reach it: mremap-analyzer run --reach all {}",
        path.display()
    );
    Err(Obstacle::new(path, &reason, &remedy))
}

/// Whether a file is a library for this machine that defines `mremap`.
pub fn defines_mremap(path: &Path) -> std::io::Result<bool> {
    let bytes = ReadCache::new(File::open(path)?);
    let Ok(object) = ElfFile64::<Endianness, _>::parse(&bytes) else { return Ok(false) };
    let header = object.elf_header();
    let endian = object.endian();
    let is_library =
        header.e_type(endian) == elf::ET_DYN && header.e_machine(endian) == OWN_MACHINE;
    let mut symbols = object.dynamic_symbols();
    Ok(is_library && symbols.any(|it| it.is_definition() && it.name() == Ok("mremap")))
}

/// Finds out how a program or library may call `mremap`, from its symbols and all of its code.
/// Returns `None` for a file that cannot be read.
pub fn calls_of(path: &Path) -> Option<Calls> {
    let bytes = ReadCache::new(File::open(path).ok()?);
    let object = ElfFile64::<Endianness, _>::parse(&bytes).ok()?;
    let names = imports(&object);
    let mut code = object.sections().filter(|section| section.kind() == object::SectionKind::Text);
    let inline = code.find_map(|section| {
        let at = Calls::find_inline(section.data().ok()?)?;
        Some(section.address().wrapping_add(at as u64))
    });
    Some(Calls {
        imports_mremap: names.contains(&&b"mremap"[..]),
        imports_syscall: names.contains(&&b"syscall"[..]),
        inline,
    })
}

type Object64<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

fn needed(object: &Object64<'_>) -> Vec<String> {
    let (endian, sections, data) = (object.endian(), object.elf_section_table(), object.data());
    let Ok(Some((entries, link))) = sections.dynamic(endian, data) else {
        return Vec::new();
    };
    let Ok(strings) = sections.strings(endian, data, link) else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|entry| entry.d_tag(endian) == elf::DT_NEEDED)
        .filter_map(|entry| entry.string(endian, strings).ok())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// The symbols that other libraries must define.
fn imports<'a>(object: &Object64<'a>) -> Vec<&'a [u8]> {
    let (endian, data) = (object.endian(), object.data());
    let symbols = object.elf_section_table().symbols(endian, data, elf::SHT_DYNSYM);
    let Ok(symbols) = symbols else { return Vec::new() };
    symbols
        .iter()
        .filter(|symbol| symbol.is_undefined(endian))
        .filter_map(|symbol| symbols.symbol_name(endian, symbol).ok())
        .collect()
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn is_loader(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("ld-linux") || name.starts_with("ld-2.")
}

/// The remedy for programs that the shim cannot reach: QEMU's user mode makes their calls through
/// libc.
fn under_qemu(machine: elf::Machine, path: &Path) -> String {
    let known = QEMU_NAMES.iter().find(|(number, _)| *number == machine);
    let name = known.map_or("ARCHITECTURE", |(_, name)| name);
    format!(
        "run it under QEMU's user mode (Debian: qemu-user), which makes its calls through libc: \
         mremap-analyzer run qemu-{name} {}",
        path.display()
    )
}
