//! Finds the files that a program needs in a guest: shared libraries, the loader, an interpreter.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err::File;

use crate::repo;

/// Bytes of a file that are read: the names of an ELF file's libraries are near its start.
const HEAD: u64 = 16 << 10;

/// The files that `files` need, directly or indirectly, by their paths on this machine.
pub fn needed_by(files: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut needed = BTreeSet::new();
    let mut dynamic = Vec::new();
    for file in files {
        match kind(file)? {
            Kind::Elf => dynamic.push(file.clone()),
            // One file is musl's loader and its libc.
            Kind::WithMusl => drop(needed.insert(musl())),
            Kind::Script(interpreters) => {
                needed.extend(interpreters.iter().cloned());
                dynamic.extend(interpreters);
            }
            Kind::Other => {}
        }
    }
    // One `ldd` for many files: each start of it costs a shell.
    for some in dynamic.chunks(100) {
        needed.extend(ldd(some)?);
    }
    Ok(needed)
}

enum Kind {
    Elf,
    WithMusl,
    Script(Vec<PathBuf>),
    Other,
}

fn kind(file: &Path) -> Result<Kind> {
    let mut head = Vec::new();
    File::open(file)?.take(HEAD).read_to_end(&mut head)?;
    if head.starts_with(b"\x7fELF") {
        return Ok(if is_linked_with_musl(&head) { Kind::WithMusl } else { Kind::Elf });
    }
    let Some(line) = head.strip_prefix(b"#!") else {
        return Ok(Kind::Other);
    };
    let line =
        String::from_utf8_lossy(line.split(|&byte| byte == b'\n').next().unwrap_or_default())
            .into_owned();
    let mut words = line.split_whitespace();
    let mut interpreters: Vec<PathBuf> = words.next().and_then(repo::which).into_iter().collect();
    // `#!/usr/bin/env python3` needs both.
    if interpreters.iter().any(|it| it.ends_with("env")) {
        interpreters.extend(words.next().and_then(repo::which));
    }
    Ok(Kind::Script(interpreters))
}

/// Whether an ELF file names musl's loader, or the libc that Debian's musl and Alpine link with.
fn is_linked_with_musl(head: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"/lib/ld-musl-", b"\0libc.so\0", b"\0libc.musl-"];
    names.iter().any(|name| head.windows(name.len()).any(|bytes| bytes == *name))
}

fn musl() -> PathBuf {
    format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH).into()
}

fn ldd(files: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut command = Command::new("ldd");
    command.args(files).env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH").env("LC_ALL", "C");
    let output = command.output().context("ldd: cannot be run")?;
    // The exit status is 1 if any of the files is static, so only the output counts.
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!(
            "{}: a shared library is missing on this machine: {}",
            files[0].display(),
            line.trim()
        );
    }
    Ok(text.lines().filter_map(library).collect())
}

/// The path in a line such as `libc.so.6 => /lib/libc.so.6 (0x7f..)`.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.strip_prefix('\t')?.rsplit_once(" (")?.0;
    let path = path.rsplit_once("=> ").map_or(path, |(_, path)| path);
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_musl_from_glibc() {
        assert!(is_linked_with_musl(b"\x7fELF..\0/lib/ld-musl-x86_64.so.1\0"));
        assert!(is_linked_with_musl(b"\x7fELF..mremap\0libc.so\0"));
        assert!(!is_linked_with_musl(b"\x7fELF../lib64/ld-linux-x86-64.so.2\0libc.so.6\0"));
    }

    #[test]
    fn parses_lines_of_ldd() {
        let path = |line| library(line).map(|path| path.display().to_string());
        assert_eq!(path("\tlibc.so.6 => /lib/libc.so.6 (0x0)").as_deref(), Some("/lib/libc.so.6"));
        assert_eq!(
            path("\t/lib64/ld-linux-x86-64.so.2 (0x0)").as_deref(),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(path("\tlinux-vdso.so.1 (0x0)"), None);
        assert_eq!(path("/bin/true:"), None);
        assert_eq!(path("\tstatically linked"), None);
    }
}
