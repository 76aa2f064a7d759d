//! Where a module's file and its separate debug information may be.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::SymbolOptions;
use super::site::hex;

/// Limit on symbolic links in one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Where distributions install debug information.
const SYSTEM: &str = "usr/lib/debug";

/// Returns files that may be the module itself, the likeliest first.
pub fn module_files(options: &SymbolOptions, path: &str, build_id: &[u8]) -> Vec<PathBuf> {
    let own = match &options.sysroot {
        Some(sysroot) => resolve_in(sysroot, &inside(path)),
        None => PathBuf::from(path),
    };
    let name = Path::new(path).file_name();
    let elsewhere =
        name.iter().flat_map(|name| options.debug_path.iter().map(move |it| it.join(name)));
    let cached = cached(build_id, "executable");
    std::iter::once(own).chain(elsewhere).chain(cached).collect()
}

/// Returns where debuginfod's clients, gdb too, keep what they have fetched.
fn cached(build_id: &[u8], kind: &str) -> Option<PathBuf> {
    let of = |variable, below: &str| {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
        Some(Path::new(&value).join(below))
    };
    let cache = of("DEBUGINFOD_CACHE_PATH", "")
        .or_else(|| of("XDG_CACHE_HOME", "debuginfod_client"))
        .or_else(|| of("HOME", ".cache/debuginfod_client"))?;
    (!build_id.is_empty()).then(|| cache.join(hex(build_id)).join(kind))
}

/// Whether debuginfod's servers are known.
pub fn has_servers() -> bool {
    std::env::var_os("DEBUGINFOD_URLS").is_some_and(|urls| !urls.is_empty())
}

/// Fetches debug information from the servers in `DEBUGINFOD_URLS`, by debuginfod's client.
pub fn fetch(build_id: &[u8]) -> Option<PathBuf> {
    if build_id.is_empty() || !has_servers() {
        return None;
    }
    let mut client = Command::new("debuginfod-find");
    let output = client.args(["debuginfo", &hex(build_id)]).stdin(Stdio::null()).output().ok()?;
    let path = output.stdout.strip_suffix(b"\n").filter(|_| output.status.success())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
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
    let relative = inside(path);
    // The link is part of the module, which nobody has checked.
    let link = link.and_then(|link| Path::new(link).file_name());
    for root in roots(options) {
        files.extend(by_build_id(&root, build_id));
        files.push(root.join(with_suffix(&relative)));
        files.extend(relative.file_name().map(|name| root.join(with_suffix(Path::new(name)))));
        if let (Some(link), Some(parent)) = (link, relative.parent()) {
            files.push(root.join(parent).join(link));
            files.push(root.join(link));
        }
    }
    files.extend(cached(build_id, "debuginfo"));
    if let (Some(link), Some(parent)) = (link, module.and_then(Path::parent)) {
        files.push(parent.join(link));
        files.push(parent.join(".debug").join(link));
    }
    files
}

/// Returns files that may be the one named in `.gnu_debugaltlink`, to which dwz has moved what
/// several files share. `file` is the one with the link.
pub fn supplements(
    options: &SymbolOptions,
    file: &Path,
    link: &str,
    build_id: &[u8],
) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let name = Path::new(link).file_name();
    for root in roots(options) {
        files.extend(by_build_id(&root, build_id));
        files.extend(name.iter().flat_map(|name| [root.join(name), root.join(".dwz").join(name)]));
    }
    files.extend(cached(build_id, "debuginfo"));
    if Path::new(link).is_absolute() {
        let root = options.sysroot.as_deref().unwrap_or(Path::new("/"));
        files.push(root.join(inside(link)));
    } else if let Some(parent) = file.parent() {
        files.push(parent.join(link));
    }
    files
}

/// Returns where debug files are by build id, below `root`.
fn by_build_id(root: &Path, build_id: &[u8]) -> Option<PathBuf> {
    let hex = hex(build_id);
    let (first, rest) = hex.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
    Some(root.join(".build-id").join(first).join(format!("{rest}.debug")))
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".debug");
    PathBuf::from(name)
}

/// Follows symbolic links as the recording machine would: an absolute one starts at `root`.
fn resolve_in(root: &Path, relative: &Path) -> PathBuf {
    let mut relative = relative.to_owned();
    'links: for _ in 0..MAX_LINKS {
        let mut walked = PathBuf::new();
        let mut rest = relative.components();
        while let Some(component) = rest.next() {
            let Ok(target) = std::fs::read_link(root.join(&walked).join(component)) else {
                walked.push(component);
                continue;
            };
            relative = inside(&walked.join(target).join(rest.as_path()).to_string_lossy());
            continue 'links;
        }
        return root.join(walked);
    }
    root.join(relative)
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

    use super::{SymbolOptions, debug_files, module_files, resolve_in};

    #[test]
    fn an_absolute_link_stays_in_the_sysroot() {
        let root = tempfile::tempdir().expect("a directory");
        let link = |name, target| std::os::unix::fs::symlink(target, root.path().join(name));
        link("lib", "/usr/lib").expect("a link");
        link("loop", "/loop").expect("a link");
        let resolved = |path: &str| resolve_in(root.path(), Path::new(path));
        assert_eq!(resolved("lib/x.so"), root.path().join("usr/lib/x.so"));
        assert_eq!(resolved("loop"), root.path().join("loop"));
    }

    #[test]
    fn never_leaves_the_sysroot() {
        let sysroot = PathBuf::from("/copy");
        let options = SymbolOptions { sysroot: Some(sysroot), ..SymbolOptions::default() };
        assert_eq!(
            module_files(&options, "/../../etc/./x/../passwd", &[]),
            [Path::new("/copy/etc/passwd")]
        );
        let path = "/usr/../../bin/program";
        let files = debug_files(&options, path, &[1, 2], None, Some("../../../etc/shadow"));
        let cached = super::cached(&[1, 2], "debuginfo");
        for file in files.into_iter().filter(|file| Some(file) != cached.as_ref()) {
            assert!(file.starts_with("/copy/usr/lib/debug"), "{}", file.display());
            assert!(!file.to_string_lossy().contains(".."), "{}", file.display());
        }
    }
}
