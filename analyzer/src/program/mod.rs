//! Programs before they run: where their files are, and whether a preload library can reach them.
//! [`Elf`] is what a program's file says, [`Obstacle`] why it cannot be reached.

mod calls;
mod elf;
mod obstacle;

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::info;

pub use elf::{Elf, SANITIZERS, calls_of, defines_mremap};
pub use obstacle::Obstacle;

/// How many scripts may be the interpreter of another before the kernel gives up.
const MAX_INTERPRETERS: usize = 5;
/// How much of a script's first line the kernel reads, in bytes.
const FIRST_LINE: u64 = 256;

/// A program that a preload library can reach, judging by its files.
#[derive(Debug)]
pub struct Program {
    /// What the kernel loads: the program itself, or the interpreter of a script.
    pub file: PathBuf,
    /// The scripts that lead to `file`.
    pub scripts: Vec<PathBuf>,
    /// What its file says; `None` when it may be executed but not read.
    pub elf: Option<Elf>,
}

/// The path of this program. Without /proc, searches for it as a shell would.
pub fn own_path() -> Option<PathBuf> {
    std::env::current_exe().ok().or_else(|| {
        let name = std::env::args_os().next()?;
        find(&name).ok()?.canonicalize().ok()
    })
}

/// Finds a program as a shell would: the first executable file of that name in `PATH`.
///
/// # Errors
/// There is no such file.
pub fn find(name: &OsStr) -> Result<PathBuf, Obstacle> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let files = files_in_path(name);
    files
        .iter()
        .find(|file| is_executable(file))
        .or(files.first())
        .cloned()
        .ok_or_else(|| Obstacle::absent(Path::new(name), "not found in PATH", &remedy_for(name)))
}

/// Finds every executable file of that name in `PATH`; a path is taken as it is.
pub fn find_all(name: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    files_in_path(name).into_iter().filter(|file| is_executable(file)).collect()
}

fn files_in_path(name: &OsStr) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let files = std::env::split_paths(&path)
        .map(|directory| Path::new(".").join(directory).join(name))
        .filter(|file| file.is_file());
    files.collect()
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// The remedy for a name that no program has. It may be a number of a process.
fn remedy_for(name: &OsStr) -> String {
    let is_number = name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    if is_number && Path::new("/proc").join(name).is_dir() {
        let pid = name.display();
        return format!(
            "it is the number of a process: to record one that runs already, \
             mremap-analyzer attach {pid}"
        );
    }
    "give its path".to_owned()
}

/// Follows scripts to the program that the kernel loads, and checks whether a preload library can
/// reach it.
///
/// # Errors
/// Why it cannot.
pub fn inspect(path: &Path) -> Result<Program, Obstacle> {
    let (mut file, mut scripts) = (path.to_owned(), Vec::new());
    loop {
        let behind_scripts = |obstacle: Obstacle, scripts: &[PathBuf]| {
            scripts.iter().rev().fold(obstacle, |obstacle, script| obstacle.of_interpreter(script))
        };
        match read_start(&file).map_err(|obstacle| behind_scripts(obstacle, &scripts))? {
            Found::Program(elf) => return Ok(Program { file, scripts, elf }),
            Found::Script(_) if scripts.len() == MAX_INTERPRETERS => {
                return Err(Obstacle::new(
                    path,
                    "a script whose interpreters are scripts, too many for the kernel",
                    "name the last interpreter yourself",
                ));
            }
            Found::Script(line) => {
                scripts.push(file);
                file =
                    interpreter_of(&line).map_err(|obstacle| behind_scripts(obstacle, &scripts))?;
            }
        }
    }
}

enum Found {
    Program(Option<Elf>),
    /// Its first line, without `#!`.
    Script(Vec<u8>),
}

/// Checks that the kernel would execute a file: a program or a script.
///
/// # Errors
/// Why it would not.
pub fn check_executable(path: &Path) -> Result<Metadata, Obstacle> {
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
        return refuse(
            "not executable",
            "make it executable with chmod +x, or name its interpreter first",
        );
    }
    Ok(metadata)
}

fn read_start(path: &Path) -> Result<Found, Obstacle> {
    let metadata = check_executable(path)?;
    let refuse = |reason: &str, remedy: &str| Err(Obstacle::new(path, reason, remedy));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            info!("{}: may be executed but not read, so it is not checked", path.display());
            return Ok(Found::Program(None));
        }
        Err(error) => return refuse(&format!("cannot be read: {error}"), "check the file system"),
    };
    let mut start = Vec::new();
    if let Err(error) = file.by_ref().take(FIRST_LINE).read_to_end(&mut start) {
        return refuse(&format!("cannot be read: {error}"), "check the file system");
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        return Ok(Found::Script(line.to_vec()));
    }
    if metadata.mode() & 0o6000 != 0 || has_capabilities(path) {
        let remedy = format!(
            "run a copy without them (cp drops them), or let a tracer run it without its privileges: \
             mremap-analyzer run --reach all {}. Where it runs already, as root: \
             mremap-analyzer attach PID",
            path.display()
        );
        return refuse(
            "setuid, setgid or with file capabilities: the loader ignores LD_PRELOAD for such programs",
            &remedy,
        );
    }
    Elf::read(path, &start, file).map(|elf| Found::Program(Some(elf)))
}

/// Returns the program that a script's first line names, or the one that `env` would execute.
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
