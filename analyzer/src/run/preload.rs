//! The preload library: where it is, whether it is one, and its position among other preloaded
//! libraries.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::program::{self, SANITIZERS};

/// The library's file name.
const NAME: &str = "libmremap_shim.so";
/// Bytes that separate names in `LD_PRELOAD`.
const SEPARATORS: &[u8] = b" :\t\n";

/// Finds the library: the one given, else the one next to this program or in `../lib`.
///
/// # Errors
/// There is none, or `LD_PRELOAD` cannot contain its path.
pub fn find_library(given: Option<&Path>) -> Result<PathBuf> {
    let library = locate(given.filter(|path| !path.as_os_str().is_empty()))?;
    if library.as_os_str().as_bytes().iter().any(|byte| SEPARATORS.contains(byte)) {
        bail!(
            "{}: blanks and colons separate paths in LD_PRELOAD; move the library to a path without them",
            library.display()
        );
    }
    Ok(library)
}

fn locate(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return path
            .canonicalize()
            .with_context(|| format!("{}: no such preload library", path.display()));
    }
    let own = program::own_path()
        .context("cannot find this program's own path; name the library with --shim")?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    let candidates = [directory.join(NAME), directory.join("../lib").join(NAME)];
    candidates.iter().find_map(|path| path.canonicalize().ok()).with_context(|| {
        format!(
            "{NAME} is neither in {} nor in ../lib from there; name it with --shim",
            directory.display()
        )
    })
}

/// Directories that glibc's loaders put in the place of `$LIB`: of 64-bit programs, of 32-bit ones.
const LIB_TOKENS: [(&str, &str); 2] =
    [("lib/x86_64-linux-gnu", "lib/i386-linux-gnu"), ("lib64", "lib")];

/// The library's path for `LD_PRELOAD`. Where a file for 32-bit programs is placed beside it, that
/// is `PREFIX/$LIB/NAME`: each loader finds its own, and none complains. musl does not expand the
/// token, so a directory of that very name must be there, too.
pub fn for_every_loader(library: &Path) -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let libc = maps.split_whitespace().map(Path::new).find(|path| path.ends_with("libc.so.6"));
    let found = libc.and_then(Path::parent).and_then(|system| with_token(library, system));
    found.unwrap_or_else(|| library.to_owned())
}

/// `system` is the directory of libc, which shows what this machine's loader expands `$LIB` to.
fn with_token(library: &Path, system: &Path) -> Option<PathBuf> {
    let (directory, name) = (library.parent()?, library.file_name()?);
    let is_here = |token: &str| directory.ends_with(token) && system.ends_with(token);
    let (wide, narrow) = LIB_TOKENS.into_iter().find(|(wide, _)| is_here(wide))?;
    let prefix = directory.ancestors().nth(Path::new(wide).iter().count())?;
    let path = prefix.join("$LIB").join(name);
    (prefix.join(narrow).join(name).is_file() && path.is_file()).then_some(path)
}

/// Checks that a file is a library for this machine that defines `mremap`. The loader would only
/// warn about any other file, and the program would run unrecorded.
pub fn check_library(path: &Path) -> Result<()> {
    if program::defines_mremap(path).with_context(|| format!("{}", path.display()))? {
        return Ok(());
    }
    bail!("{}: not {NAME}: a library that does not define mremap", path.display())
}

/// Returns the value of `LD_PRELOAD`: first the sanitizers of the former list and of the program,
/// which refuse to run unless they come first; then the shim; then the rest of the former list.
pub fn list<'a>(
    library: &Path,
    former: &OsStr,
    sanitizers: impl Iterator<Item = &'a str>,
) -> OsString {
    let former: Vec<&OsStr> = former
        .as_bytes()
        .split(|byte| SEPARATORS.contains(byte))
        .filter(|name| !name.is_empty())
        .map(OsStr::from_bytes)
        .collect();
    let is_sanitizer = |name: &&OsStr| {
        let name = name.to_string_lossy();
        let base = name.rsplit('/').next().unwrap_or_default();
        base.starts_with("libclang_rt.") || SANITIZERS.iter().any(|it| base.starts_with(it))
    };
    let (mut first, rest): (Vec<&OsStr>, Vec<&OsStr>) = former.into_iter().partition(is_sanitizer);
    for sanitizer in sanitizers {
        let known = first.iter().any(|name| name.to_string_lossy().ends_with(sanitizer));
        if !known {
            first.push(OsStr::new(sanitizer));
        }
    }
    let all: Vec<&OsStr> = first.into_iter().chain([library.as_os_str()]).chain(rest).collect();
    all.join(OsStr::new(":"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::{list, with_token};

    #[test]
    fn uses_the_token_where_every_loader_finds_a_file() {
        let home = tempfile::tempdir().expect("a directory");
        let place = |directory: &str| {
            let directory = home.path().join(directory);
            std::fs::create_dir_all(&directory).expect("a directory");
            let file = directory.join("s.so");
            std::fs::write(&file, "").expect("a file");
            file
        };
        let library = place("lib64");
        assert_eq!(with_token(&library, Path::new("/usr/lib64")), None);
        place("lib");
        assert_eq!(with_token(&library, Path::new("/usr/lib64")), None);
        let path = place("$LIB");
        assert_eq!(with_token(&library, Path::new("/usr/lib64")), Some(path));
        // Debian's loader looks elsewhere.
        assert_eq!(with_token(&library, Path::new("/usr/lib/x86_64-linux-gnu")), None);
    }

    #[test]
    fn puts_sanitizers_first_and_keeps_the_order_of_others() {
        let with = |former: &str, needed: &[&str]| {
            let list = list(Path::new("/s.so"), OsStr::new(former), needed.iter().copied());
            list.into_string().expect("text")
        };
        assert_eq!(with("", &[]), "/s.so");
        assert_eq!(with("a.so b.so", &[]), "/s.so:a.so:b.so");
        assert_eq!(with("a.so:/lib/libasan.so.8", &[]), "/lib/libasan.so.8:/s.so:a.so");
        assert_eq!(with("a.so", &["libasan.so.8"]), "libasan.so.8:/s.so:a.so");
        assert_eq!(with("/lib/libasan.so.8", &["libasan.so.8"]), "/lib/libasan.so.8:/s.so");
    }
}
