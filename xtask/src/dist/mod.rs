//! `cargo xtask dist`: builds the packages, an image of the library, a bill of materials and
//! checksums. The same commit gives the same bytes on every machine with the same C library, which
//! `mremap-conformance` contains.
//!
//! [`build`] compiles for an old glibc, [`stage`] lays out the tree below `/usr`, [`sbom`] lists
//! the linked crates, [`pack`] makes the packages and [`image`] the image. [`check`] tests the
//! packages, [`check_image`] the image, [`crates`] what would be published as crates and [`semver`]
//! their interfaces.

mod build;
mod check;
mod check_image;
mod crates;
mod image;
mod pack;
pub mod release;
mod sbom;
mod semver;
mod stage;

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use mremap_tests::artifacts::Artifacts;

use crate::repo;

/// How thoroughly to test the packages.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Compare with a build in another folder, and test the packages in Debian 11, 12 and 13 and on
    /// Linux 5.10, 6.1 and 6.12; needs root and debootstrap.
    #[arg(long)]
    check: bool,
    /// Test in the oldest Debian and on the oldest Linux only, without a second build.
    #[arg(long, requires = "check")]
    quick: bool,
}

/// Builds the packages.
pub fn run(options: &Options) -> Result<ExitCode> {
    let release = Release::of(repo::root())?;
    let into = repo::root().join("target/dist");
    let files = release.make(repo::root(), &into, false)?;
    for file in &files {
        println!("{} ({} KiB)", file.display(), fs::metadata(file)?.len() >> 10);
    }
    if options.check {
        check::run(&release, &into, options.quick)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where to install.
#[derive(Debug, clap::Args)]
pub struct Prefix {
    /// Directory that gets `bin`, `lib` and `share`.
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
}

/// Builds for this machine, and installs the files of the packages below a prefix.
pub fn install(options: &Prefix) -> Result<ExitCode> {
    let artifacts = repo::step("building", Artifacts::prepare_for_users)?;
    let examples = artifacts.examples().into_iter();
    let is_in_c = |name: &String| repo::root().join("examples").join(format!("{name}.c")).exists();
    let built = build::Built {
        shim: artifacts.shim(),
        shim_for_musl: artifacts.shim_for_musl(),
        analyzer: artifacts.analyzer(),
        conformance: artifacts.static_conformance(),
        examples: examples.filter(is_in_c).map(|name| artifacts.example(&name)).collect(),
    };
    let release = Release::of(repo::root())?;
    let sbom = tempfile::NamedTempFile::new().context("no temporary file")?;
    fs::write(sbom.path(), sbom::bill_of_materials(&release, repo::root())?)?;
    stage::lay_out(&release, repo::root(), &built, sbom.path(), &options.prefix)?;
    let prefix = options.prefix.display();
    println!("installed {prefix}/bin/mremap-analyzer and {prefix}/lib/libmremap_shim.so");
    Ok(ExitCode::SUCCESS)
}

/// The version that is packaged.
#[derive(Debug, Clone)]
pub struct Release {
    /// The workspace's version.
    pub version: String,
    /// The commit's time in seconds since 1970, which all files in the packages have.
    pub time: String,
}

impl Release {
    fn of(source: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["log", "-1", "--format=%ct"]).current_dir(source);
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: repo::capture(&mut git)?.trim().to_owned(),
        })
    }

    /// The time as `2026-01-31T00:00:00Z`.
    fn date(&self) -> Result<String> {
        let mut date = Command::new("date");
        let date = date.args(["-u", "+%FT%TZ", "-d", &format!("@{}", self.time)]);
        Ok(repo::capture(date)?.trim().to_owned())
    }

    /// The name of the tarball, without its ending.
    fn name(&self) -> String {
        format!("mremap-shim-{}-x86_64-linux-gnu", self.version)
    }

    /// Builds the source tree and writes the packages to `into`; `quick` as for [`build::build`].
    fn make(&self, source: &Path, into: &Path, quick: bool) -> Result<Vec<PathBuf>> {
        let tree = into.join("tree");
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(&tree)?;
        let built = build::build(self, source, &into.join("build"), quick)?;
        let copier = build::copier(source, &into.join("build"))?;
        let sbom = into.join(format!("mremap-shim-{}.cdx.json", self.version));
        fs::write(&sbom, sbom::bill_of_materials(self, source)?)?;
        stage::lay_out(self, source, &built, &sbom, &tree)?;
        let mut files = pack::packages(self, source, into)?;
        files.extend([
            pack::tarball(self, &tree, into)?,
            image::write(self, &copier, &tree, into)?,
            sbom,
        ]);
        files.push(pack::checksums(&files, into)?);
        Ok(files)
    }
}
