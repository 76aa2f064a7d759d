//! The value of `--programs`. The shim compares file names of executables, which people seldom
//! know: `python3` is a symbolic link to `python3.11`, and a script runs its interpreter.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::program;

/// Names as typed, and as the executables behind them are called.
pub struct ProgramNames {
    value: OsString,
    /// For each name as typed: the executable's name, where that is another.
    typed: Vec<(String, Option<String>)>,
}

impl ProgramNames {
    /// Finds the executables behind names separated by commas.
    pub fn resolve(list: &OsStr) -> Self {
        let mut names: Vec<OsString> = Vec::new();
        let mut typed = Vec::new();
        for name in list.as_bytes().split(|&byte| byte == b',').filter(|name| !name.is_empty()) {
            let name = OsStr::from_bytes(name);
            let base = Path::new(name).file_name().unwrap_or(name).to_owned();
            let file = program::find(name).ok().and_then(|path| executable_of(&path));
            let resolved = file.filter(|file| *file != base);
            typed.push((text(name), resolved.as_deref().map(text)));
            names.push(base);
            names.extend(resolved);
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
            self.typed.iter().map(|(typed, file)| with_file(typed, file.as_deref())).collect();
        format!("no program {} was seen", names.join(" or "))
    }

    /// `/usr/bin/python3 (executable python3.11)`.
    pub fn describe_file(program: &Path) -> String {
        let file = executable_of(program).map(|file| text(&file));
        let is_same = program.file_name().map(text) == file;
        with_file(&program.display().to_string(), file.as_deref().filter(|_| !is_same))
    }
}

fn with_file(name: &str, file: Option<&str>) -> String {
    match file {
        Some(file) => format!("{name} (executable {file})"),
        None => name.to_owned(),
    }
}

fn text(name: impl AsRef<OsStr>) -> String {
    name.as_ref().to_string_lossy().into_owned()
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
