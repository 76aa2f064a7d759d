//! Where a module's file and its separate debug information may lie.

use std::path::{Path, PathBuf};

use super::SymbolOptions;
use super::site::hex;

/// Where distributions put debug information.
const SYSTEM: &str = "usr/lib/debug";

/// Files that may be the module itself, the likeliest first.
pub fn module_files(options: &SymbolOptions, path: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(sysroot) = &options.sysroot {
        files.push(sysroot.join(path.trim_start_matches('/')));
    } else {
        files.push(PathBuf::from(path));
    }
    if let Some(name) = Path::new(path).file_name() {
        files.extend(options.debug_path.iter().map(|directory| directory.join(name)));
    }
    files
}

/// Files that may hold its debug information, by build id, by path and by the name in `.gnu_debuglink`.
pub fn debug_files(
    options: &SymbolOptions,
    path: &str,
    build_id: &[u8],
    module: Option<&Path>,
    link: Option<&str>,
) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let hex = hex(build_id);
    let relative = path.trim_start_matches('/');
    for root in roots(options) {
        if let Some((first, rest)) = hex.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) {
            files.push(root.join(".build-id").join(first).join(format!("{rest}.debug")));
        }
        files.push(root.join(format!("{relative}.debug")));
        if let Some(name) = Path::new(path).file_name() {
            let mut name = name.to_os_string();
            name.push(".debug");
            files.push(root.join(name));
        }
        if let (Some(link), Some(parent)) = (link, Path::new(relative).parent()) {
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

fn roots(options: &SymbolOptions) -> Vec<PathBuf> {
    let mut roots = options.debug_path.clone();
    match &options.sysroot {
        Some(sysroot) => roots.push(sysroot.join(SYSTEM)),
        None => roots.push(Path::new("/").join(SYSTEM)),
    }
    roots
}
