//! Whether a program can be reached by a preload library, told before it runs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use tracing::info;

/// Interpreters of interpreters that the kernel follows.
const MOST_INTERPRETERS: usize = 5;
/// Bytes of a script's first line that the kernel reads.
const FIRST_LINE: u64 = 256;

/// Finds a program as a shell would: the first executable file of that name in `PATH`.
///
/// # Errors
/// There is none.
pub fn find(name: &OsStr) -> Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let files: Vec<PathBuf> = std::env::split_paths(&path)
        .map(|directory| Path::new(".").join(directory).join(name))
        .filter(|file| file.is_file())
        .collect();
    let executable = files.iter().find(|file| {
        std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
    });
    executable
        .or(files.first())
        .cloned()
        .with_context(|| format!("{}: not found in PATH; give its path", name.display()))
}

/// Refuses what the library cannot reach, with the reason and what would work.
///
/// # Errors
/// The reason.
pub fn check(path: &Path) -> Result<()> {
    check_nested(path, MOST_INTERPRETERS)
}

fn check_nested(path: &Path, interpreters_left: usize) -> Result<()> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("{name}: no such program"))?;
    if metadata.is_dir() {
        bail!("{name}: a directory, not a program; name a program in it");
    }
    if !metadata.is_file() {
        bail!("{name}: not a regular file, so not a program");
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        bail!("{name}: not executable; `chmod +x` it, or name its interpreter first");
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            info!("{name}: may be executed and not read, so it is not checked");
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("{name}: cannot be read")),
    };
    let mut start = Vec::new();
    file.by_ref()
        .take(FIRST_LINE)
        .read_to_end(&mut start)
        .with_context(|| format!("{name}: cannot be read"))?;
    if let Some(line) = start.strip_prefix(b"#!") {
        if interpreters_left == 0 {
            bail!("{name}: a script whose interpreter is a script, and so on without end");
        }
        return check_nested(&interpreter_of(line)?, interpreters_left - 1)
            .with_context(|| format!("{name}: its interpreter cannot be reached"));
    }
    if metadata.mode() & 0o6000 != 0 || has_capabilities(path) {
        bail!(
            "{name}: setuid, setgid or with file capabilities, and the loader ignores LD_PRELOAD for such programs; \
             run a copy without them (cp drops them)"
        );
    }
    check_elf(path, &start, &ReadCache::new(file))
}

/// The program that a script's first line names; the one behind `env`, where that is it.
fn interpreter_of(line: &[u8]) -> Result<PathBuf> {
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(OsStr::from_bytes);
    let interpreter = Path::new(words.next().unwrap_or_default());
    let behind_env =
        words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='));
    match behind_env {
        Some(name) if interpreter.file_name() == Some(OsStr::new("env")) => find(name),
        _ => Ok(interpreter.to_owned()),
    }
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

fn check_elf(path: &Path, start: &[u8], bytes: &ReadCache<File>) -> Result<()> {
    let name = path.display();
    let machine = if cfg!(target_arch = "x86_64") {
        elf::EM_X86_64
    } else {
        elf::EM_AARCH64
    };
    if start.starts_with(&elf::ELFMAG) && start.get(4) == Some(&elf::ELFCLASS32.0) {
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
        bail!("{name}: statically linked, so no library can be preloaded; link it dynamically");
    };
    let interpreter = String::from_utf8_lossy(interpreter);
    if !interpreter.contains("ld-linux") {
        bail!(
            "{name}: uses {interpreter}, another libc's loader, and the shim is built for glibc; run a glibc build of it"
        );
    }
    Ok(())
}
