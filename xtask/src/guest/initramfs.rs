//! The guest's root file system: a `newc` archive of busybox, the guest's files and their
//! libraries.

use fs_err::{self as fs, File};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

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
        let mut archive = Archive { out: BufWriter::new(File::create(to)?), written: 0, inode: 0 };
        for (path, node) in &self.0 {
            match node {
                Node::Directory => archive.entry(path, 0o040_755, b"", (0, 0))?,
                Node::Console => archive.entry(path, 0o020_600, b"", (5, 1))?,
                Node::Text(text) => archive.entry(path, 0o100_755, text.as_bytes(), (0, 0))?,
                Node::Link(target) => {
                    archive.entry(
                        path,
                        0o120_777,
                        target.as_os_str().as_encoded_bytes(),
                        (0, 0),
                    )?;
                }
                Node::File(host) => {
                    let mode = fs::metadata(host)?.permissions().mode() & 0o7777;
                    archive.entry(path, 0o100_000 | mode, &fs::read(host)?, (0, 0))?;
                }
            }
        }
        archive.entry(Path::new("TRAILER!!!"), 0, b"", (0, 0))?;
        archive.out.flush()
    }
}

/// The `newc` format: each entry has a header of hexadecimal fields, a name and the contents, each
/// padded to four bytes.
struct Archive<W> {
    out: W,
    written: usize,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn entry(
        &mut self,
        path: &Path,
        mode: u32,
        contents: &[u8],
        device: (u32, u32),
    ) -> io::Result<()> {
        self.inode += 1;
        let name = path.as_os_str().as_encoded_bytes();
        let (links, owner, time) = (1, 0, 0);
        let size = u32::try_from(contents.len())
            .map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
        let fields = [
            self.inode,
            mode,
            owner,
            owner,
            links,
            time,
            size,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        let header = fields
            .iter()
            .fold("070701".to_owned(), |header, field| header + &format!("{field:08X}"));
        self.bytes(header.as_bytes())?;
        self.bytes(name)?;
        self.bytes(b"\0")?;
        self.pad()?;
        self.bytes(contents)?;
        self.pad()
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.bytes(&[0; 4][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_an_archive_that_cpio_reads() {
        let Some(cpio) = repo::which("cpio") else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let mut tree = Tree::default();
        tree.insert(Path::new("a/b/text"), Node::Text("12345".to_owned()));
        tree.insert(Path::new("link"), Node::Link("a/b".into()));
        tree.write(&path).unwrap();
        let listing = Command::new(cpio)
            .arg("-itv")
            .stdin(File::open(&path).unwrap().into_file())
            .output()
            .unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        let names: Vec<&str> =
            listing.lines().filter_map(|line| line.split_whitespace().nth(8)).collect();
        assert_eq!(names, ["a", "a/b", "a/b/text", "link"]);
        assert!(listing.contains("link -> a/b"), "{listing}");
    }
}
