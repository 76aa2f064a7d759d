//! The tree as archives, made by the programs that everybody has for it: `tar`, `gzip`, `dpkg-deb`,
//! `sha256sum`. Order, owners and times are fixed.

use fs_err::{self as fs, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;

use super::Release;
use crate::repo;
use crate::tools;

/// Builds a tarball that can be unpacked anywhere, for example over `/usr/local`.
pub fn tarball(release: &Release, tree: &Path, into: &Path) -> Result<PathBuf> {
    let name = release.name();
    let path = into.join(format!("{name}.tar.gz"));
    let tar = into.join(format!("{name}.tar"));
    archive(release, tree, &name, &tar)?;
    compress(&tar, &path)?;
    fs::remove_file(&tar)?;
    Ok(path)
}

/// Writes a folder as a tar archive, in which its name is `name`.
pub fn archive(release: &Release, folder: &Path, name: &str, to: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--mode=u=rwX,go=rX",
        "--format=gnu",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    tar.arg(format!("--mtime=@{}", release.time));
    tar.arg(format!("--transform=flags=r;s,^\\.,{name},"));
    tar.arg("-C").arg(folder).arg("-cf").args([to, Path::new(".")]);
    repo::run(&mut tar)
}

/// Compresses a file, without its name and time.
pub fn compress(from: &Path, to: &Path) -> Result<()> {
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "-n", "-c"]).arg(from).stdout(File::create(to)?.into_file());
    repo::run(&mut gzip)
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(file: &Path) -> Result<String> {
    let line = repo::capture(Command::new("sha256sum").arg(file))?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

/// Builds the `.deb` and the `.rpm` of the tree in `into/tree`, by `packaging/nfpm.yaml`.
pub fn packages(release: &Release, source: &Path, into: &Path) -> Result<Vec<PathBuf>> {
    let time = UNIX_EPOCH + Duration::from_secs(release.time.parse()?);
    let overrides = into.join("lintian-overrides");
    fs::copy(source.join("packaging/lintian-overrides"), &overrides)?;
    for file in repo::files_below(&into.join("tree"))?.iter().chain([&overrides]) {
        File::open(file)?.set_modified(time)?;
    }
    let names =
        [("deb", "mremap-shim_VERSION_amd64.deb"), ("rpm", "mremap-shim-VERSION-1.x86_64.rpm")];
    let package = |(packager, name): (&str, &str)| {
        let path = into.join(name.replace("VERSION", &release.version));
        let mut nfpm = Command::new(tools::get("nfpm")?.join("nfpm"));
        nfpm.args(["package", "--packager", packager, "--target"]).arg(&path);
        nfpm.arg("--config").arg(source.join("packaging/nfpm.yaml")).current_dir(into);
        repo::capture(
            nfpm.env("VERSION", &release.version).env("SOURCE_DATE_EPOCH", &release.time),
        )?;
        Ok(path)
    };
    names.into_iter().map(package).collect()
}

/// Writes `SHA256SUMS` of the files.
pub fn checksums(files: &[PathBuf], into: &Path) -> Result<PathBuf> {
    let mut sums = Command::new("sha256sum");
    sums.current_dir(into).args(files.iter().filter_map(|file| file.file_name()));
    let path = into.join("SHA256SUMS");
    fs::write(&path, repo::capture(&mut sums)?)?;
    Ok(path)
}
