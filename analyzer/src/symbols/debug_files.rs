//! Where a module's file and its separate debug information may be.

use std::path::{Component, Path, PathBuf};

use super::SymbolOptions;
use super::site::hex;

/// Where distributions install debug information.
const SYSTEM: &str = "usr/lib/debug";

/// Returns files that may be the module itself, the likeliest first.
pub fn module_files(options: &SymbolOptions, path: &str) -> Vec<PathBuf> {
    let own = match &options.sysroot {
        Some(sysroot) => sysroot.join(inside(path)),
        None => PathBuf::from(path),
    };
    let name = Path::new(path).file_name();
    let elsewhere =
        name.iter().flat_map(|name| options.debug_path.iter().map(move |it| it.join(name)));
    std::iter::once(own).chain(elsewhere).collect()
}

/// Returns files that may have its debug information: by build id, by path, and by the name in
/// `.gnu_debuglink`.
pub fn debug_files(
    options: &SymbolOptions,
    path: &str,
    build_id: &[u8],
    module: Option<&Path>,
    link: Option<&str>,
) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let hex = hex(build_id);
    let relative = inside(path);
    // The link is part of the module, which nobody has checked.
    let link = link.and_then(|link| Path::new(link).file_name());
    for root in roots(options) {
        if let Some((first, rest)) = hex.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) {
            files.push(root.join(".build-id").join(first).join(format!("{rest}.debug")));
        }
        files.push(root.join(with_suffix(&relative)));
        files.extend(relative.file_name().map(|name| root.join(with_suffix(Path::new(name)))));
        if let (Some(link), Some(parent)) = (link, relative.parent()) {
            files.push(root.join(parent).join(link));
            files.push(root.join(link));
        }
    }
    if let (Some(link), Some(parent)) = (link, module.and_then(Path::parent)) {
        files.push(parent.join(link));
        files.push(parent.join(".debug").join(link));
    }
    files
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".debug");
    PathBuf::from(name)
}

/// Returns an absolute path of the recording machine relative to its root directory, which `..`
/// cannot leave.
fn inside(path: &str) -> PathBuf {
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::ParentDir => {
                relative.pop();
            }
            _ => {}
        }
    }
    relative
}

fn roots(options: &SymbolOptions) -> Vec<PathBuf> {
    let root = options.sysroot.as_deref().unwrap_or(Path::new("/"));
    options.debug_path.iter().cloned().chain([root.join(SYSTEM)]).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{SymbolOptions, debug_files, module_files};

    #[test]
    fn never_leaves_the_sysroot() {
        let sysroot = PathBuf::from("/copy");
        let options = SymbolOptions { sysroot: Some(sysroot), ..SymbolOptions::default() };
        assert_eq!(
            module_files(&options, "/../../etc/./x/../passwd"),
            [Path::new("/copy/etc/passwd")]
        );
        let path = "/usr/../../bin/program";
        for file in debug_files(&options, path, &[1, 2], None, Some("../../../etc/shadow")) {
            assert!(file.starts_with("/copy/usr/lib/debug"), "{}", file.display());
            assert!(!file.to_string_lossy().contains(".."), "{}", file.display());
        }
    }
}
