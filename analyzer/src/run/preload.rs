//! The preload library: where it is, and its place among other preloaded ones.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::program;

/// The library's file name.
const NAME: &str = "libmremap_shim.so";
/// What the loader takes for separators in `LD_PRELOAD`.
const SEPARATORS: &[u8] = b" :\t\n";

/// Finds the library: the one given, else the one beside this program or in ../lib.
///
/// # Errors
/// There is none, or the loader could not be told its name.
pub fn find_library(given: Option<&Path>) -> Result<PathBuf> {
    let library = locate(given.filter(|path| !path.as_os_str().is_empty()))?;
    if library.as_os_str().as_bytes().iter().any(|byte| SEPARATORS.contains(byte)) {
        bail!(
            "{}: the loader takes blanks and colons in LD_PRELOAD for separators; move the library to a path without",
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
    let places = [directory.join(NAME), directory.join("../lib").join(NAME)];
    places.iter().find_map(|place| place.canonicalize().ok()).with_context(|| {
        format!(
            "{NAME} is neither in {} nor in ../lib from there; name it with --shim",
            directory.display()
        )
    })
}

/// The value of `LD_PRELOAD`: sanitizers that the program needs, which insist on being first; then the shim;
/// then what stood there before. A list that begins with a sanitizer keeps its order, with the shim behind it.
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
        ["libasan", "libhwasan", "libtsan", "liblsan", "libclang_rt."]
            .iter()
            .any(|sanitizer| name.rsplit('/').next().unwrap_or_default().starts_with(sanitizer))
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

    use super::list;

    #[test]
    fn sanitizers_come_first_and_other_libraries_keep_their_order() {
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
