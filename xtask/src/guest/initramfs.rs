//! The guest's root file system: a cpio archive of busybox, the guest's files and their
//! libraries.

use fs_err::{self as fs, File};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cpio::newc;

use super::{Guest, guest_path, libraries};
use crate::arch::Arch;
use crate::repo;

/// Directories that are links into `/usr`, as on Debian.
pub const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Directories that every guest has.
const DIRECTORIES: [&str; 9] = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var"];

/// Writes the archive: `init` as the first process, busybox with its applets, files and libraries.
pub fn write(to: &Path, init: &str, guest: &Guest) -> Result<()> {
    let mut tree = Tree::default();
    for name in DIRECTORIES {
        tree.directory(Path::new(name));
    }
    for name in MERGED {
        tree.directory(&Path::new("usr").join(name));
        tree.insert(Path::new(name), Node::Link(format!("usr/{name}").into()));
    }
    tree.insert(Path::new("dev/console"), Node::Console);
    tree.insert(Path::new("init"), Node::Text(init.to_owned()));
    tree.insert(Path::new("etc/passwd"), Node::Text("root:x:0:0:root:/root:/bin/sh\n".to_owned()));
    tree.insert(Path::new("etc/group"), Node::Text("root:x:0:\n".to_owned()));
    let mut contents = Vec::new();
    for (host, guest) in &guest.files {
        tree.copy(host, &guest_path(guest), &mut contents)?;
    }
    if guest.arch == Arch::Amd64 {
        for library in libraries::needed_by(&contents)? {
            tree.insert_new(&guest_path(&library), Node::File(library));
        }
        // The loader finds libraries outside of its default directories by this cache.
        tree.copy(Path::new("/etc/ld.so.cache"), Path::new("etc/ld.so.cache"), &mut Vec::new())
            .ok();
    }
    add_busybox(&mut tree, guest.busybox.as_deref())?;
    tree.write(to).with_context(|| format!("{}: the initramfs cannot be written", to.display()))
}

/// This machine's busybox, which must be static.
pub fn busybox() -> Result<PathBuf> {
    let path = repo::which("busybox")
        .context("busybox is not installed (apt-get install busybox-static)")?;
    if !libraries::needed_by(std::slice::from_ref(&path))?.is_empty() {
        bail!("{} is not a static busybox (apt-get install busybox-static)", path.display());
    }
    Ok(path)
}

/// Adds busybox, and a link for each applet unless a program of that name is there. A busybox for
/// another processor cannot list its applets here, so this machine's busybox lists them.
fn add_busybox(tree: &mut Tree, given: Option<&Path>) -> Result<()> {
    let path = busybox()?;
    for applet in repo::capture(Command::new(&path).arg("--list"))?.lines() {
        tree.insert_new(&Path::new("usr/bin").join(applet), Node::Link("busybox".into()));
    }
    tree.insert(Path::new("usr/bin/busybox"), Node::File(given.unwrap_or(&path).to_path_buf()));
    Ok(())
}

#[derive(Debug)]
enum Node {
    Directory,
    File(PathBuf),
    Text(String),
    Link(PathBuf),
    Console,
}

/// Entries by their path in the guest, without a leading slash. A directory sorts before its
/// entries.
#[derive(Debug, Default)]
struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    fn directory(&mut self, path: &Path) {
        for parent in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            self.0.entry(parent.to_path_buf()).or_insert(Node::Directory);
        }
    }

    fn insert(&mut self, path: &Path, node: Node) {
        self.directory(path.parent().unwrap_or(Path::new("")));
        self.0.insert(path.to_path_buf(), node);
    }

    fn insert_new(&mut self, path: &Path, node: Node) {
        if !self.0.contains_key(path) {
            self.insert(path, node);
        }
    }

    /// Adds a file or a directory tree. Appends the host's paths of the files to `files`.
    fn copy(&mut self, host: &Path, guest: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
        let metadata = fs::metadata(host)
            .with_context(|| format!("{}: cannot be put into a guest", host.display()))?;
        if metadata.is_file() {
            self.insert(guest, Node::File(host.to_path_buf()));
            files.push(host.to_path_buf());
            return Ok(());
        }
        self.directory(guest);
        let entries = fs::read_dir(host)?;
        for entry in entries.flatten() {
            let (from, to) = (entry.path(), guest.join(entry.file_name()));
            // A link to a directory may form a cycle, so only links to files are followed.
            if from.is_file() || (from.is_dir() && !from.is_symlink()) {
                self.copy(&from, &to, files)?;
            }
        }
        Ok(())
    }

    fn write(&self, to: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(to)?);
        for (path, node) in &self.0 {
            let entry = newc::Builder::new(&path.to_string_lossy()).nlink(1);
            let (entry, contents) = match node {
                Node::Directory => (entry.mode(0o040_755), Vec::new()),
                Node::Console => (entry.mode(0o020_600).rdev_major(5).rdev_minor(1), Vec::new()),
                Node::Text(text) => (entry.mode(0o100_755), text.clone().into_bytes()),
                Node::Link(target) => {
                    (entry.mode(0o120_777), target.as_os_str().as_encoded_bytes().to_vec())
                }
                Node::File(host) => {
                    let mode = fs::metadata(host)?.permissions().mode() & 0o7777;
                    (entry.mode(0o100_000 | mode), fs::read(host)?)
                }
            };
            let size = u32::try_from(contents.len())
                .map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
            let mut writer = entry.write(&mut out, size);
            writer.write_all(&contents)?;
            writer.finish()?;
        }
        newc::trailer(&mut out)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn writes_directories_before_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let mut tree = Tree::default();
        tree.insert(Path::new("a/b/text"), Node::Text("12345".to_owned()));
        tree.insert(Path::new("link"), Node::Link("a/b".into()));
        tree.write(&path).unwrap();
        let mut found = Vec::new();
        let mut archive = File::open(&path).unwrap();
        loop {
            let mut reader = newc::Reader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut contents = String::new();
            reader.read_to_string(&mut contents).unwrap();
            found.push((reader.entry().name().to_owned(), reader.entry().mode(), contents));
            archive = reader.finish().unwrap();
        }
        let expected = [
            ("a", 0o040_755, ""),
            ("a/b", 0o040_755, ""),
            ("a/b/text", 0o100_755, "12345"),
            ("link", 0o120_777, "a/b"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, mode, text)| (name.to_owned(), mode, text.to_owned()))
        );
    }
}
