//! Properties of the library's file: what it needs, what it exports, the permissions of its pages;
//! and which system calls it makes when it is loaded.

use std::fs;
use std::path::Path;
use std::process::Command;

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;
use mremap_tests::preload::kernel_moves_several_vmas;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, Sym as _};
use object::{Endianness, StringTable};

/// The library's bytes as an ELF file.
struct Library {
    bytes: Vec<u8>,
}

impl Library {
    fn read() -> Self {
        Self::read_from(&Artifacts::get().shim())
    }

    fn read_from(path: &Path) -> Self {
        Self { bytes: fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) }
    }

    fn header(&self) -> &FileHeader64<Endianness> {
        FileHeader64::parse(&*self.bytes).expect("an ELF file")
    }

    fn endian(&self) -> Endianness {
        self.header().endian().expect("a byte order")
    }

    fn segments(&self) -> &[ProgramHeader64<Endianness>] {
        self.header().program_headers(self.endian(), &*self.bytes).expect("program headers")
    }

    fn segment(&self, kind: elf::ProgramType) -> Option<&ProgramHeader64<Endianness>> {
        self.segments().iter().find(|it| it.p_type(self.endian()) == kind)
    }

    /// The values of one tag of the dynamic section.
    fn dynamic(&self, tag: elf::DynamicTag) -> Vec<u64> {
        let segment = self.segment(elf::PT_DYNAMIC).expect("a dynamic segment");
        let entries =
            segment.dynamic(self.endian(), &*self.bytes).expect("readable").unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry.d_tag(self.endian()) == tag)
            .map(|entry| entry.d_val(self.endian()))
            .collect()
    }

    fn strings(&self) -> StringTable<'_> {
        let sections = self.header().sections(self.endian(), &*self.bytes).expect("sections");
        let (_, link) = sections
            .dynamic(self.endian(), &*self.bytes)
            .expect("readable")
            .expect("a dynamic section");
        sections.strings(self.endian(), &*self.bytes, link).expect("its strings")
    }

    /// The names of dynamic symbols: those defined here, or those needed from other libraries.
    fn symbols(&self, defined: bool) -> Vec<String> {
        let endian = self.endian();
        let sections = self.header().sections(endian, &*self.bytes).expect("sections");
        let table =
            sections.symbols(endian, &*self.bytes, elf::SHT_DYNSYM).expect("dynamic symbols");
        let wanted = table
            .iter()
            .filter(|symbol| symbol.st_name(endian) != 0 && symbol.is_undefined(endian) != defined);
        let name = |symbol: &elf::Sym64<Endianness>| {
            let name = table.symbol_name(endian, symbol).expect("a name");
            String::from_utf8_lossy(name).into_owned()
        };
        let mut names: Vec<String> = wanted.map(name).collect();
        names.sort();
        names
    }
}

#[test]
fn needs_libc_and_nothing_else() {
    let library = Library::read();
    let strings = library.strings();
    for offset in library.dynamic(elf::DT_NEEDED) {
        let name = strings.get(offset as u32).expect("a name");
        let name = String::from_utf8_lossy(name);
        // musl takes this name for itself, and refuses to load a library that needs glibc's loader.
        assert_eq!(name, "libc.so.6", "it needs {name}");
    }
}

/// The newest glibc that may be needed: that of `CentOS` 7, older than any distribution with Linux
/// 5.10.
const NEWEST_GLIBC: [u32; 2] = [2, 17];

#[test]
fn needs_no_newer_glibc_than_2_17() {
    let library = Library::read();
    let endian = library.endian();
    let sections = library.header().sections(endian, &*library.bytes).expect("sections");
    let versions = sections.versions(endian, &*library.bytes).expect("readable").expect("versions");
    let mut seen = 0;
    for index in
        0..u16::try_from(library.symbols(false).len() + library.symbols(true).len()).expect("few")
    {
        let Ok(Some(version)) = versions.version(elf::VersionIndex(index)) else {
            continue;
        };
        let name = String::from_utf8_lossy(version.name()).into_owned();
        let numbers: Vec<u32> = name
            .strip_prefix("GLIBC_")
            .unwrap_or_else(|| panic!("it needs {name}"))
            .split('.')
            .map(|number| number.parse().expect("a number"))
            .collect();
        assert!(numbers.as_slice() <= NEWEST_GLIBC.as_slice(), "it needs {name}");
        seen += 1;
    }
    assert!(seen > 0, "it needs some version");
}

#[test]
fn exports_hooks_and_the_functions_of_attach_and_nothing_else() {
    let names = Library::read().symbols(true);
    let hooks = ["dlclose", "ioctl", "mmap", "mmap64", "mremap"];
    let attach = ["mremap_shim_attach", "mremap_shim_detach"];
    assert_eq!(names, [&hooks[..], &attach, &["prctl", "shmat", "syscall"]].concat());
}

#[test]
fn calls_no_allocator_and_no_lock_of_the_host() {
    let needed = Library::read().symbols(false);
    assert!(!needed.is_empty(), "it needs something from libc");
    for name in
        ["malloc", "calloc", "realloc", "free", "posix_memalign", "mmap", "mmap64", "dl_open"]
    {
        assert!(!needed.iter().any(|it| it == name), "it calls {name}: {needed:?}");
    }
    let threads: Vec<&String> = needed.iter().filter(|name| name.starts_with("pthread_")).collect();
    assert!(threads.is_empty(), "{threads:?}");
}

#[test]
fn no_page_is_writable_and_executable() {
    let library = Library::read();
    for segment in library.segments() {
        let flags = segment.p_flags(library.endian());
        assert_ne!(
            flags & (elf::PF_W | elf::PF_X),
            elf::PF_W | elf::PF_X,
            "segment at {:#x}",
            segment.p_vaddr(library.endian())
        );
    }
    // Without this header the loader makes every stack executable.
    assert!(library.segment(elf::PT_GNU_STACK).is_some());
}

#[test]
fn is_bound_and_read_only_once_loaded_and_never_unloaded() {
    let library = Library::read();
    assert!(library.segment(elf::PT_GNU_RELRO).is_some(), "-z relro");
    let flags: u64 = library.dynamic(elf::DT_FLAGS_1).iter().sum();
    assert_ne!(flags & elf::DF_1_NOW.0, 0, "-z now");
    assert_ne!(flags & elf::DF_1_NODELETE.0, 0, "-z nodelete");
}

#[test]
fn has_at_most_64_bytes_of_thread_local_storage() {
    let library = Library::read();
    let size = library.segment(elf::PT_TLS).map_or(0, |segment| segment.p_memsz(library.endian()));
    assert!(size <= 64, "{size} bytes");
}

/// musl's `dlopen` refuses static storage.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_file_for_musl_differs_in_its_thread_local_storage_alone() {
    let (plain, for_musl) =
        (Library::read(), Library::read_from(&Artifacts::get().shim_for_musl()));
    let has_static_storage = |library: &Library| {
        let flags: u64 = library.dynamic(elf::DT_FLAGS).iter().sum();
        flags & elf::DF_STATIC_TLS.0 != 0
    };
    assert!(has_static_storage(&plain) && !has_static_storage(&for_musl));
    for is_defined in [true, false] {
        assert_eq!(plain.symbols(is_defined), for_musl.symbols(is_defined));
    }
}

#[test]
fn makes_no_system_call_at_load_where_it_has_nothing_to_do() {
    let Some(strace) = need::program("strace", "strace") else { return };
    let shim = Artifacts::get().shim();
    let preload = format!("LD_PRELOAD={}", shim.display());
    // After the loader has read the list of libraries.
    let calls_after_loading = |variables: &[&str]| -> Vec<String> {
        let log = tempfile::NamedTempFile::new().expect("a file for strace");
        let mut traced = Command::new(&strace);
        traced.arg("-o").arg(log.path());
        for variable in variables {
            traced.args(["-E", variable]);
        }
        let output = traced.arg(Artifacts::get().fixture("idle")).output().expect("strace runs");
        assert!(output.status.success(), "{output:?}");
        let log = fs::read_to_string(log.path()).expect("strace wrote its log");
        let lines = log.lines().skip_while(|line| !line.starts_with("munmap(")).skip(1);
        lines.map(|line| line.split('(').next().unwrap_or(line).to_owned()).collect()
    };
    let alone = calls_after_loading(&[]);
    assert!(!alone.is_empty(), "the program ends");
    assert_eq!(calls_after_loading(&[&preload, "MREMAP_SHIM_MODE=passthrough"]), alone);
    if kernel_moves_several_vmas() {
        assert_eq!(calls_after_loading(&[&preload]), alone);
    }
    let emulating = calls_after_loading(&[&preload, "MREMAP_SHIM_MODE=emulate"]);
    assert!(emulating.len() > alone.len(), "{emulating:?}");
}
