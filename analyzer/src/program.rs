//! Whether a program can be reached by a preload library, told before it runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

/// Finds a program as a shell would.
pub fn find(name: &OsStr) -> Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{}: not found in PATH; give its path", name.display()))
}

/// Refuses what the library cannot reach, with the reason and what would work.
pub fn check(path: &Path) -> Result<()> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("{name}: no such program"))?;
    if metadata.is_dir() {
        bail!("{name}: a directory, not a program");
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        bail!("{name}: not executable; `chmod +x` it, or name its interpreter first");
    }
    if metadata.mode() & 0o6000 != 0 || has_capabilities(path) {
        bail!(
            "{name}: setuid, setgid or with file capabilities, and the loader ignores LD_PRELOAD for such programs; \
             run a copy without them (cp drops them)"
        );
    }
    let bytes = std::fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let interpreter = PathBuf::from(OsStr::from_bytes(words.next().unwrap_or_default()));
        return check(&interpreter).with_context(|| format!("{name}: its interpreter cannot be reached"));
    }
    check_elf(path, &bytes)
}

fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both names are C strings; a size of 0 asks for the attribute's length and writes nothing.
    unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        ) > 0
    }
}

fn check_elf(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.display();
    let machine = if cfg!(target_arch = "x86_64") {
        elf::EM_X86_64
    } else {
        elf::EM_AARCH64
    };
    if bytes.starts_with(&elf::ELFMAG) && bytes.get(4) == Some(&elf::ELFCLASS32) {
        bail!("{name}: a 32-bit program, and the shim is 64-bit; run a 64-bit build");
    }
    let header = elf::FileHeader64::<object::Endianness>::parse(bytes)
        .ok()
        .with_context(|| format!("{name}: neither an ELF program nor a script"))?;
    let endian = header
        .endian()
        .ok()
        .with_context(|| format!("{name}: its ELF header is damaged"))?;
    if header.e_machine(endian) != machine {
        bail!("{name}: built for another architecture; run it on a machine of its own");
    }
    let segments = header
        .program_headers(endian, bytes)
        .ok()
        .with_context(|| format!("{name}: its ELF program headers are damaged"))?;
    let Some(interpreter) = segments
        .iter()
        .find_map(|s| s.interpreter(endian, bytes).ok().flatten())
    else {
        bail!(
            "{name}: statically linked, so no library can be preloaded; link it dynamically, or run it under \
             qemu-user, whose own calls go through libc"
        );
    };
    let interpreter = String::from_utf8_lossy(interpreter);
    if !interpreter.contains("ld-linux") {
        bail!("{name}: uses {interpreter}, another libc's loader; the shim is built for glibc");
    }
    Ok(())
}
