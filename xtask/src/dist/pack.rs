//! The tree as archives, made by the programs that everybody has for it: `tar`, `gzip`, `dpkg-deb`, `sha256sum`.
//! Order, owners and times are fixed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Release;
use crate::repo;

/// A domain that never exists: what is built from a copy of the sources has nobody behind it whom we could name.
const MAINTAINER: &str = "mremap-shim developers <developers@mremap-shim.invalid>";

/// A tarball that can be unpacked anywhere, for example over `/usr/local`.
pub fn tarball(release: &Release, tree: &Path, into: &Path) -> Result<PathBuf> {
    let name = release.name();
    let path = into.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar")
        .args([
            "--sort=name",
            "--mode=u=rwX,go=rX",
            "--format=gnu",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ])
        .arg(format!("--mtime=@{}", release.time))
        .arg(format!("--transform=flags=r;s,^\\.,{name},"))
        .arg("-C")
        .arg(tree)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("tar: cannot be run")?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "-n"]).stdin(tar.stdout.take().context("tar has a stdout")?).stdout(
        File::create(&path).with_context(|| format!("{}: cannot be written", path.display()))?,
    );
    repo::run(&mut gzip)?;
    ensure!(tar.wait()?.success(), "tar: failed");
    Ok(path)
}

/// A Debian package of the same tree under `/usr`. Nothing is switched on by installing it.
pub fn debian_package(
    release: &Release,
    source: &Path,
    tree: &Path,
    into: &Path,
) -> Result<PathBuf> {
    let root = into.join("deb");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let (usr, control) = (root.join("usr"), root.join("DEBIAN"));
    fs::create_dir_all(&control)?;
    repo::run(Command::new("cp").arg("-a").args([tree, &usr]))?;
    let overrides = usr.join("share/lintian/overrides");
    fs::create_dir_all(&overrides)?;
    fs::copy(source.join("packaging/lintian-overrides"), overrides.join("mremap-shim"))?;
    changelog(release, &usr.join("share/doc/mremap-shim/changelog"))?;
    let mut files = repo::files_below(&usr)?;
    files.sort();
    let mut sums = Command::new("md5sum");
    sums.current_dir(&root).args(files.iter().filter_map(|file| file.strip_prefix(&root).ok()));
    fs::write(control.join("md5sums"), repo::capture(&mut sums)?)?;
    let size = files
        .iter()
        .map(|file| fs::metadata(file).map_or(0, |it| it.len().div_ceil(1024)))
        .sum::<u64>();
    fs::write(control.join("control"), fields(&release.version, size))?;
    repo::run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&root))?;
    let path = into.join(format!("mremap-shim_{}_amd64.deb", release.version));
    let mut build = Command::new("dpkg-deb");
    build
        .env("SOURCE_DATE_EPOCH", &release.time)
        // The compression that Debian 11 reads too.
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&root, &path]);
    repo::capture(&mut build)?;
    Ok(path)
}

/// Debian's own kind of changelog, which points to ours.
fn changelog(release: &Release, path: &Path) -> Result<()> {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-R", "-d", &format!("@{}", release.time)]);
    let entry = format!(
        "mremap-shim ({}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {MAINTAINER}  {}",
        release.version,
        repo::capture(&mut date)?
    );
    fs::write(path, entry).with_context(|| format!("{}: cannot be written", path.display()))?;
    repo::run(Command::new("gzip").args(["-9", "-n", "-f"]).arg(path))
}

fn fields(version: &str, kib: u64) -> String {
    format!(
        "Package: mremap-shim\nVersion: {version}\nArchitecture: amd64\nMaintainer: {MAINTAINER}\n\
         Depends: libc6 (>= 2.17)\nInstalled-Size: {kib}\nSection: utils\nPriority: optional\n\
         Description: multi-VMA mremap of Linux 6.17 for older kernels\n \
         A preload library that makes mremap move ranges of several mappings on kernels\n \
         that refuse to, and records every call; mremap-analyzer runs programs under it\n \
         and reports what they did.\n .\n Installing it changes nothing: no program is preloaded until asked for.\n"
    )
}

/// `SHA256SUMS` of the files.
pub fn checksums(files: &[PathBuf], into: &Path) -> Result<PathBuf> {
    let mut sums = Command::new("sha256sum");
    sums.current_dir(into).args(files.iter().filter_map(|file| file.file_name()));
    let path = into.join("SHA256SUMS");
    fs::write(&path, repo::capture(&mut sums)?)
        .with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(path)
}
