//! Lays out the packages' files as they are below `/usr`.

use fs_err as fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::Release;
use super::build::Built;
use crate::repo;

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "trace/FORMAT.md",
];
/// Shells, each with the path of its completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/mremap-analyzer"),
    ("zsh", "share/zsh/vendor-completions/_mremap-analyzer"),
    ("fish", "share/fish/vendor_completions.d/mremap-analyzer.fish"),
];

/// Writes the packages' files below `tree`.
pub fn lay_out(
    release: &Release,
    source: &Path,
    built: &Built,
    sbom: &Path,
    tree: &Path,
) -> Result<()> {
    let put = |from: &Path, to: &str, mode| put(from, &tree.join(to), mode);
    put(&built.analyzer, "bin/mremap-analyzer", 0o755)?;
    put(&built.conformance, "bin/mremap-conformance", 0o755)?;
    put(&source.join("packaging/mremap-demo"), "bin/mremap-demo", 0o755)?;
    put(&built.shim, "lib/libmremap_shim.so", 0o644)?;
    put(&built.shim_for_musl, "lib/libmremap_shim_attach_musl.so", 0o644)?;
    for example in &built.examples {
        put(example, &format!("lib/mremap-shim/{}", name(example)), 0o755)?;
    }
    let documents = "share/doc/mremap-shim";
    for document in DOCUMENTS.map(|it| source.join(it)) {
        put(&document, &format!("{documents}/{}", name(&document)), 0o644)?;
    }
    // Only tracked files, and not the program that the pictures were recorded from.
    let is_document = |it: &&PathBuf| {
        let is_source = it.starts_with("docs/pictures")
            && it.extension().is_none_or(|it| it == "mremap" || it == "mremapz");
        (it.starts_with("docs") || it.starts_with("examples")) && !is_source
    };
    for file in repo::tracked()?.iter().filter(is_document) {
        put(&source.join(file), &format!("{documents}/{}", file.display()), 0o644)?;
    }
    for file in ["copyright", "LGPL-2.1"] {
        put(&source.join("packaging").join(file), &format!("{documents}/{file}"), 0o644)?;
    }
    put(sbom, &format!("{documents}/sbom.cdx.json"), 0o644)?;
    let man = tree.join("share/man/man1");
    for program in ["mremap-demo", "mremap-conformance"] {
        manual(&man, program, &fs::read(source.join(format!("packaging/{program}.1")))?)?;
    }
    man_pages(release, &built.analyzer, &man)?;
    for (shell, path) in COMPLETIONS {
        let script = repo::capture(Command::new(&built.analyzer).args(["completions", shell]))?;
        write(&tree.join(path), script.as_bytes())?;
    }
    Ok(())
}

fn man_pages(release: &Release, analyzer: &Path, into: &Path) -> Result<()> {
    let help = repo::capture(Command::new(analyzer).arg("--help"))?;
    let pages = std::iter::once(None).chain(subcommands(&help).into_iter().map(Some));
    for subcommand in pages {
        let mut man = Command::new(analyzer);
        man.arg("man").args(subcommand);
        let page = repo::capture(man.env("SOURCE_DATE_EPOCH", &release.time))?;
        let name = subcommand.map_or_else(String::new, |it| format!("-{it}"));
        manual(into, &format!("mremap-analyzer{name}"), page.as_bytes())?;
    }
    Ok(())
}

fn manual(into: &Path, name: &str, page: &[u8]) -> Result<()> {
    let path = into.join(format!("{name}.1"));
    write(&path, page)?;
    repo::run(Command::new("gzip").args(["-9", "-n", "-f"]).arg(&path))
}

/// The subcommands that `--help` lists.
fn subcommands(help: &str) -> Vec<&str> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from)?;
    write(to, &bytes)?;
    fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    ensure!(!bytes.is_empty(), "{}: would be empty", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    Ok(fs::write(path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn man_page_has_every_option_of_the_conformance_program() {
        let read = |path| fs::read_to_string(repo::root().join(path)).unwrap();
        let page = read("packaging/mremap-conformance.1").replace("\\-", "-");
        let documented = read("docs/conformance.md");
        let options = documented.lines().filter_map(|line| line.strip_prefix("| `--"));
        let names: Vec<_> = options.filter_map(|line| line.split([' ', '`']).next()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        for name in names {
            assert!(page.contains(&format!("\n.B --{name}")), "{name}");
        }
    }

    #[test]
    fn parses_the_subcommands_of_the_help() {
        let help = "Usage: it\n\nCommands:\n  run     Run a program\n          and more\n  help    Print\n\nOptions:\n  -h\n";
        assert_eq!(subcommands(help), ["run"]);
    }
}
