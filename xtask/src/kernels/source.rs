//! Parts of a kernel's source in the cache, from Debian's source package.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{CONTENT, apt_home, lock, need_apt, origin, write_origin};
use crate::apt::Apt;
use crate::catalogue::Entry;
use crate::repo;

/// Returns the folder that holds the paths `members` of the entry's source, and the package, as
/// `NAME VERSION`. Fetches the package unless the cache has these paths of it.
pub fn get(entry: &Entry, members: &[&str]) -> Result<(PathBuf, String)> {
    let folder = repo::kernel_cache().join("source");
    let tree = folder.join("tree");
    let has_members = || members.iter().all(|member| tree.join(member).exists());
    let cached = || origin(entry, &folder).filter(|_| has_members());
    if let Some(version) = cached() {
        return Ok((tree, version));
    }
    need_apt()?;
    let _lock = lock()?;
    if let Some(version) = cached() {
        return Ok((tree, version)); // Another process fetched it while we waited for the lock.
    }
    let apt = Apt::update(&entry.suite, entry.arch, apt_home(&entry.suite, entry.arch))?;
    let (package, scratch) = super::unpack(&apt, entry, &folder)?;
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    unpack(&package.name, &scratch.path().join(CONTENT), members, &tree)?;
    write_origin(entry, &package, &folder)?;
    Ok((tree, super::shown(&package)))
}

/// Unpacks the source of an unpacked package: the paths `members`, or all of it if there are none.
pub fn unpack(package: &str, content: &Path, members: &[&str], into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut tar = Command::new("tar");
    tar.args(["--strip-components=1", "-xf"]);
    tar.arg(content.join("usr/src").join(format!("{package}.tar.xz"))).arg("-C").arg(into);
    tar.args(members.iter().map(|member| format!("{package}/{member}")));
    repo::capture(&mut tar).map(drop)
}
