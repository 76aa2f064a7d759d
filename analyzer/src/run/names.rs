//! The value of `--programs`. The shim compares file names of executables, which people seldom
//! know: `python3` is a symbolic link to `python3.11`, and a script runs its interpreter. A wrapper
//! of the same name may precede the program in `PATH`, as pyenv's do: a script counts only if no
//! executable has the name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::program;

/// Names as typed, and as the executables behind them are called.
pub struct ProgramNames {
    value: OsString,
    /// For each name as typed: the executables' names, where they are others.
    typed: Vec<(String, Vec<String>)>,
}

impl ProgramNames {
    /// Finds the executables behind names separated by commas.
    pub fn resolve(list: &OsStr) -> Self {
        let mut names: Vec<OsString> = Vec::new();
        let mut typed = Vec::new();
        for name in list.as_bytes().split(|&byte| byte == b',').filter(|name| !name.is_empty()) {
            let name = OsStr::from_bytes(name);
            let base = Path::new(name).file_name().unwrap_or(name).to_owned();
            let mut files = executables_of(name);
            files.retain(|file| *file != base);
            typed.push((text(name), files.iter().map(text).collect()));
            names.push(base);
            names.extend(files);
        }
        Self { value: names.join(OsStr::new(",")), typed }
    }

    /// The names for the shim, separated by commas.
    pub fn value(&self) -> &OsStr {
        &self.value
    }

    /// `no program python3 (executable python3.11) was seen`.
    pub fn describe(&self) -> String {
        let names: Vec<String> =
            self.typed.iter().map(|(typed, files)| with_files(typed, files)).collect();
        format!("no program {} was seen", names.join(" or "))
    }

    /// `/usr/bin/python3 (executable python3.11)`.
    pub fn describe_file(program: &Path) -> String {
        let file =
            executable_of(program).filter(|file| program.file_name() != Some(file.as_os_str()));
        with_files(&program.display().to_string(), file.as_ref().map(text).as_slice())
    }
}

fn with_files(name: &str, files: &[String]) -> String {
    if files.is_empty() {
        return name.to_owned();
    }
    format!("{name} (executable {})", files.join(" or "))
}

fn text(name: impl AsRef<OsStr>) -> String {
    name.as_ref().to_string_lossy().into_owned()
}

/// The file names of the executables of a name, each once; the interpreter's if only scripts have
/// the name.
fn executables_of(name: &OsStr) -> Vec<OsString> {
    let found = program::find_all(name);
    let is_script =
        |path: &&PathBuf| program::inspect(path).is_ok_and(|program| !program.scripts.is_empty());
    let (scripts, programs): (Vec<_>, Vec<_>) = found.iter().partition(is_script);
    let wanted = if programs.is_empty() { scripts.into_iter().take(1).collect() } else { programs };
    let mut files = Vec::new();
    for file in wanted.into_iter().filter_map(|path| executable_of(path)) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// The file name of what the kernel executes: symbolic links and scripts followed.
fn executable_of(program: &Path) -> Option<OsString> {
    let file =
        program::inspect(program).map_or_else(|obstacle| obstacle.file, |program| program.file);
    Some(file.canonicalize().ok()?.file_name()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::ProgramNames;

    #[test]
    fn names_match_as_typed_and_as_resolved() {
        let directory = tempfile::tempdir().expect("a directory");
        let (link, file) = (directory.path().join("tool"), directory.path().join("tool-1.2"));
        fs::copy(std::env::current_exe().expect("its own path"), &file).expect("a copy");
        symlink("tool-1.2", &link).expect("a link");
        let list = format!("{},other", link.display());
        let names = ProgramNames::resolve(OsStr::new(&list));
        assert_eq!(names.value(), "tool,tool-1.2,other");
        let printed = names.describe();
        assert!(printed.ends_with("tool (executable tool-1.2) or other was seen"), "{printed}");
    }
}
