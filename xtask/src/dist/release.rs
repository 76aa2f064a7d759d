//! `cargo xtask release`: packages, checksums, bill of materials, provenance and tag of a version,
//! by one command. With `--dry-run`, which CI runs, nothing is tagged.

use fs_err as fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::build::glibc_version;
use super::pack::sha256;
use super::{Release, check, crates, semver};
use crate::repo;

/// How to release.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Build and check everything, but do not tag. The changelog may have no date yet.
    #[arg(long)]
    dry_run: bool,
    /// Build the analyzer in a third of the time, test the packages in the oldest Debian only,
    /// without a second build, and pack the crates without building them.
    #[arg(long, requires = "dry_run")]
    quick: bool,
}

impl Options {
    /// The options of CI.
    pub fn for_ci(full: bool) -> Self {
        Self { dry_run: true, quick: !full }
    }
}

/// Builds, checks and tags the release.
pub fn run(options: &Options) -> Result<ExitCode> {
    let release = Release::of(repo::root())?;
    let changelog = fs::read_to_string(repo::root().join("CHANGELOG.md"))?;
    let date = date_of(&changelog, &release.version)?;
    let tag = format!("v{}", release.version);
    if !options.dry_run {
        ensure!(is_date(date), "CHANGELOG.md: {} has no date, but {date:?}", release.version);
        let changes = git(&["status", "--porcelain"])?;
        ensure!(changes.is_empty(), "commit or remove these first:\n{changes}");
    }
    let tags = git(&["tag", "--list", &tag])?;
    ensure!(tags.is_empty(), "{tag} exists: set another version in Cargo.toml");
    semver::check()?;
    let into = repo::root().join("target/dist");
    let files = release.make(repo::root(), &into, options.quick)?;
    let provenance = into.join(format!("mremap-shim-{}.intoto.json", release.version));
    let statement = provenance_of(&files, git(&["rev-parse", "HEAD"])?.trim())?;
    fs::write(&provenance, serde_json::to_string_pretty(&statement)? + "\n")?;
    for file in files.iter().chain([&provenance]) {
        println!("{} ({} KiB)", file.display(), fs::metadata(file)?.len() >> 10);
    }
    check::run(&release, &into, options.quick)?;
    crates::check(options.quick)?;
    if options.dry_run {
        println!("dry run: {tag} would be tagged");
        return Ok(ExitCode::SUCCESS);
    }
    git(&["tag", "--annotate", &tag, "--message", &format!("Version {}", release.version)])?;
    println!("tagged {tag}; push it, and publish the files of {}", into.display());
    Ok(ExitCode::SUCCESS)
}

fn git(arguments: &[&str]) -> Result<String> {
    repo::capture(Command::new("git").args(arguments).current_dir(repo::root()))
}

/// The date in the changelog's heading `## VERSION, DATE`.
fn date_of<'a>(changelog: &'a str, version: &str) -> Result<&'a str> {
    let heading = format!("## {version}, ");
    let date = changelog.lines().find_map(|line| line.strip_prefix(&heading));
    date.with_context(|| format!("CHANGELOG.md: no heading `{heading}DATE`"))
}

/// Whether it is written as 2026-01-31.
fn is_date(text: &str) -> bool {
    let form: String =
        text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    form == "0000-00-00"
}

/// An in-toto statement that says which commit the files were built from.
fn provenance_of(files: &[PathBuf], commit: &str) -> Result<Value> {
    let subject = |file: &PathBuf| -> Result<Value> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(json!({"name": name, "digest": {"sha256": sha256(file)?}}))
    };
    let subjects = files.iter().map(subject).collect::<Result<Vec<_>>>()?;
    let rustc = repo::capture(Command::new("rustc").arg("--version"))?;
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:mremap-shim:cargo-xtask-dist",
                "externalParameters": {"command": "cargo xtask dist"},
                "internalParameters": {"compiler": rustc.trim(), "glibc": glibc_version()?},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    {"name": "Cargo.lock", "digest": {"sha256": sha256(&repo::root().join("Cargo.lock"))?}},
                ],
            },
            "runDetails": {"builder": {"id": "urn:mremap-shim:cargo-xtask"}},
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_date_of_a_version() {
        let changelog = "# Changelog\n\n## 0.2.0, unreleased\n\n## 0.1.0, 2026-12-01\n";
        assert_eq!(date_of(changelog, "0.1.0").unwrap(), "2026-12-01");
        assert!(is_date("2026-12-01") && !is_date(date_of(changelog, "0.2.0").unwrap()));
        assert!(date_of(changelog, "0.3.0").is_err());
    }

    #[test]
    fn provenance_names_files_and_commit() {
        let file = tempfile::Builder::new().prefix("package").tempfile().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let statement = provenance_of(&[file.path().to_owned()], "c0ffee").unwrap();
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(statement["subject"][0]["digest"]["sha256"], digest);
        let source = &statement["predicate"]["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(source["digest"]["gitCommit"], "c0ffee");
    }
}
