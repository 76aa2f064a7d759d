//! `cargo xtask dist`: what is given to others. A tarball and a Debian package with the same content, a bill of
//! materials, and their checksums. The same commit gives the same bytes, wherever it is built.
//!
//! The path: [`build`] makes the programs for an old glibc, [`stage`] lays the tree, [`pack`] makes archives of it,
//! [`sbom`] lists what is linked in; [`check`] then tries what came out.

mod build;
mod check;
mod pack;
mod sbom;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::repo;

/// What to make, and how far to try it.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Then build once more in another folder and compare, and try the packages in Debian 11, 12 and 13 and on Linux
    /// 5.10, 6.1 and 6.12. Needs root and debootstrap.
    #[arg(long)]
    check: bool,
    /// Try them in the oldest Debian and on the oldest Linux only, and do not build twice.
    #[arg(long, requires = "check")]
    quick: bool,
}

impl Options {
    /// What CI does of it.
    pub fn for_ci() -> Self {
        Self { check: true, quick: true }
    }
}

/// Makes the packages.
pub fn run(options: &Options) -> Result<ExitCode> {
    let release = Release::of(repo::root())?;
    let into = repo::root().join("target/dist");
    let files = release.make(repo::root(), &into)?;
    for file in &files {
        println!("{} ({} KiB)", file.display(), fs::metadata(file)?.len() >> 10);
    }
    if options.check {
        check::run(&release, &into, options.quick)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is being released.
#[derive(Debug, Clone)]
pub struct Release {
    /// The workspace's version.
    pub version: String,
    /// The commit's time, in seconds since 1970: the time of everything in the packages.
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

    /// Name and version, as archives are called.
    fn name(&self) -> String {
        format!("mremap-shim-{}-x86_64-linux-gnu", self.version)
    }

    /// Builds what `source` holds, and leaves the packages in `into`.
    fn make(&self, source: &Path, into: &Path) -> Result<Vec<PathBuf>> {
        let tree = into.join("tree");
        for folder in [into, &tree] {
            fs::create_dir_all(folder)
                .with_context(|| format!("{}: cannot be created", folder.display()))?;
        }
        let built = build::build(self, source, &into.join("build"))?;
        let sbom = into.join(format!("mremap-shim-{}.cdx.json", self.version));
        fs::write(&sbom, sbom::bill_of_materials(self, source)?)?;
        stage::lay(self, source, &built, &sbom, &tree)?;
        let mut files = vec![
            pack::tarball(self, &tree, into)?,
            pack::debian_package(self, source, &tree, into)?,
            sbom,
        ];
        files.push(pack::checksums(&files, into)?);
        Ok(files)
    }
}
