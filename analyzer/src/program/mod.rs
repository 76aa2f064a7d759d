//! A program before it runs: where it is, and whether a preload library can reach it. [`Elf`] is what its file
//! says, [`Obstacle`] what is in the way.

mod calls;
mod elf;
mod obstacle;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::info;

pub use elf::{Elf, calls_of};
pub use obstacle::Obstacle;

/// Interpreters of interpreters that the kernel follows.
const MOST_INTERPRETERS: usize = 5;
/// Bytes of a script's first line that the kernel reads.
const FIRST_LINE: u64 = 256;

/// A program that a preload library can reach, as far as its files tell.
#[derive(Debug)]
pub struct Program {
    /// What the kernel loads: the program itself, or the last interpreter behind it.
    pub file: PathBuf,
    /// Scripts on the way there.
    pub scripts: Vec<PathBuf>,
    /// What its file says; nothing where it may be executed and not read.
    pub elf: Option<Elf>,
}

/// This program's own file; where /proc does not tell, as a shell would have found it.
pub fn own_path() -> Option<PathBuf> {
    std::env::current_exe().ok().or_else(|| {
        let name = std::env::args_os().next()?;
        find(&name).ok()?.canonicalize().ok()
    })
}

/// Finds a program as a shell would: the first executable file of that name in `PATH`.
///
/// # Errors
/// There is none.
pub fn find(name: &OsStr) -> Result<PathBuf, Obstacle> {
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
        .ok_or_else(|| Obstacle::absent(Path::new(name), "not found in PATH", "give its path"))
}

/// Follows scripts to what the kernel loads, and looks whether a preload library gets there.
///
/// # Errors
/// What is in the way.
pub fn inspect(path: &Path) -> Result<Program, Obstacle> {
    let (mut file, mut scripts) = (path.to_owned(), Vec::new());
    loop {
        let around = |obstacle: Obstacle, scripts: &[PathBuf]| {
            scripts.iter().rev().fold(obstacle, |obstacle, script| obstacle.of_interpreter(script))
        };
        match look(&file).map_err(|obstacle| around(obstacle, &scripts))? {
            Found::Program(elf) => return Ok(Program { file, scripts, elf }),
            Found::Script(_) if scripts.len() == MOST_INTERPRETERS => {
                return Err(Obstacle::new(
                    path,
                    "a script whose interpreter is a script, and so on without end",
                    "name the program behind it",
                ));
            }
            Found::Script(line) => {
                scripts.push(file);
                file = interpreter_of(&line).map_err(|obstacle| around(obstacle, &scripts))?;
            }
        }
    }
}

enum Found {
    Program(Option<Elf>),
    /// Its first line, without `#!`.
    Script(Vec<u8>),
}

fn look(path: &Path) -> Result<Found, Obstacle> {
    let metadata = std::fs::metadata(path)
        .map_err(|_| Obstacle::absent(path, "no such program", "check the path"))?;
    let refuse = |reason: &str, remedy: &str| Err(Obstacle::new(path, reason, remedy));
    if metadata.is_dir() {
        return refuse("a directory, not a program", "name a program in it");
    }
    if !metadata.is_file() {
        return refuse("not a regular file, so not a program", "name a program");
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return refuse("not executable", "`chmod +x` it, or name its interpreter first");
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            info!("{}: may be executed and not read, so it is not checked", path.display());
            return Ok(Found::Program(None));
        }
        Err(error) => return refuse(&format!("cannot be read ({error})"), "check the file system"),
    };
    let mut start = Vec::new();
    if let Err(error) = file.by_ref().take(FIRST_LINE).read_to_end(&mut start) {
        return refuse(&format!("cannot be read ({error})"), "check the file system");
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        return Ok(Found::Script(line.to_vec()));
    }
    if metadata.mode() & 0o6000 != 0 || has_capabilities(path) {
        return refuse(
            "setuid, setgid or with file capabilities, and the loader ignores LD_PRELOAD for such programs",
            "run a copy without them (cp drops them)",
        );
    }
    Elf::read(path, &start, file).map(|elf| Found::Program(Some(elf)))
}

/// The program that a script's first line names; the one behind `env`, where that is it.
fn interpreter_of(line: &[u8]) -> Result<PathBuf, Obstacle> {
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words =
        line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let interpreter = Path::new(words.next().unwrap_or_default());
    let behind_env =
        words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='));
    match behind_env {
        Some(name) if interpreter.file_name() == Some(OsStr::new("env")) => find(name),
        _ => Ok(interpreter.to_owned()),
    }
}

fn has_capabilities(path: &Path) -> bool {
    let mut value = [0u8; 64];
    let length = rustix::fs::getxattr(path, c"security.capability", &mut value[..]);
    length.is_ok_and(|length| length > 0)
}
