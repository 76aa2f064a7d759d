//! `cargo xtask docs`: runs every command that the documents show.
//!
//! A fenced block of `sh` or `sql` has `run` or `not run: REASON` after the language. The blocks of
//! one document run in order in one empty folder, as a reader would type them. Installed paths,
//! such as `/usr/lib/libmremap_shim.so`, are replaced by those of the present build.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use mremap_tests::artifacts::Artifacts;

use crate::repo;
use crate::tools;

/// Installed paths that the documents use.
const INSTALLED: [&str; 2] = ["/usr/lib/libmremap_shim.so", "/usr/lib/mremap-shim/"];

/// Runs SQL. A query without rows fails, since it proves nothing.
const SQL: &str = "#!/bin/sh
exec PYTHON -c '
import duckdb, sys
database = duckdb.connect(\"documents.duckdb\")
for statement in sys.stdin.read().split(\";\"):
    if not statement.strip():
        continue
    answer = database.sql(statement)
    if answer is not None:
        print(answer)
        if statement.lstrip().startswith(\"SELECT\") and len(answer) == 0:
            sys.exit(\"no rows: \" + statement)
'
";

/// Runs all documents; a failure does not stop the others.
pub fn run() -> Result<ExitCode> {
    let prefix = tempfile::tempdir().context("no temporary directory")?;
    install(prefix.path())?;
    let (mut passed, mut failed, mut seen) = (0, 0, 0);
    for document in documents()? {
        let text = fs::read_to_string(&document)?;
        let name = document.strip_prefix(repo::root()).unwrap_or(&document).display().to_string();
        let blocks = blocks(&text).with_context(|| name.clone())?;
        seen += blocks.len();
        let script = script(&blocks, prefix.path());
        if script.is_empty() {
            continue;
        }
        match run_script(&script, prefix.path()) {
            Ok(_) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("{name}: {error:#}");
            }
        }
    }
    anyhow::ensure!(seen > 0, "no document has a command: are the fences still ```sh?");
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn documents() -> Result<Vec<PathBuf>> {
    let files = repo::tracked()?.into_iter();
    let is_document = |file: &PathBuf| {
        file.extension().is_some_and(|it| it == "md")
            && (file.starts_with("docs") || file.components().count() == 1)
    };
    Ok(files.filter(is_document).map(|file| repo::root().join(file)).collect())
}

/// Installs the build as a package would.
fn install(prefix: &Path) -> Result<()> {
    let artifacts = Artifacts::prepare()?;
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = prefix.join(to);
        fs::create_dir_all(to.parent().unwrap_or(prefix))?;
        fs::copy(from, &to).with_context(|| format!("{}: cannot be copied", from.display()))?;
        Ok(())
    };
    copy(&artifacts.analyzer(), "bin/mremap-analyzer")?;
    copy(&artifacts.shim(), "lib/libmremap_shim.so")?;
    copy(&repo::root().join("packaging/mremap-demo"), "bin/mremap-demo")?;
    for example in artifacts.examples() {
        copy(&artifacts.example(&example), &format!("lib/mremap-shim/{example}"))?;
    }
    let python = tools::get("readers")?.join("python3");
    let sql = prefix.join("bin/documents-sql");
    fs::write(&sql, SQL.replace("PYTHON", &python.to_string_lossy()))?;
    repo::run(Command::new("chmod").arg("+x").arg(&sql))
}

#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: String,
    runs: bool,
    text: String,
}

/// Parses a document's blocks of commands.
fn blocks(document: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        let (language, mode) = info.split_once(' ').unwrap_or((info, ""));
        if !["sh", "sql"].contains(&language) {
            continue;
        }
        if mode != "run" && !mode.starts_with("not run: ") {
            bail!(
                "a block of {language} has neither `run` nor `not run: REASON`:\n{}",
                text.join("\n")
            );
        }
        blocks.push(Block {
            language: language.to_owned(),
            runs: mode == "run",
            text: text.join("\n"),
        });
    }
    Ok(blocks)
}

/// Joins the blocks that run into one shell script.
fn script(blocks: &[Block], prefix: &Path) -> String {
    let relocate = |text: String, path: &&str| {
        text.replace(*path, &path.replace("/usr", &prefix.to_string_lossy()))
    };
    let shown = |block: &Block| {
        let text = INSTALLED.iter().fold(block.text.clone(), relocate);
        match block.language.as_str() {
            "sql" => format!("documents-sql <<'END OF SQL'\n{text}\nEND OF SQL\n"),
            _ => text + "\n",
        }
    };
    blocks.iter().filter(|block| block.runs).map(shown).collect()
}

fn run_script(script: &str, prefix: &Path) -> Result<String> {
    let folder = tempfile::tempdir().context("no temporary directory")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", script])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("PATH", format!("{}:{path}", prefix.join("bin").display()));
    repo::capture(&mut shell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requires_a_mode_of_every_block() {
        let document = "a\n```sh run\nls\npwd\n```\n```text\nls\n```\n```sql not run: needs Spark\nSELECT 1\n```\n";
        let blocks = blocks(document).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!(script(&blocks, Path::new("/x")), "ls\npwd\n");
        let error = super::blocks("```sh\nls\n```\n").unwrap_err().to_string();
        assert!(error.contains("neither `run` nor"), "{error}");
    }

    #[test]
    fn fails_at_a_failing_command() {
        assert!(run_script("true\nfalse\ntrue\n", Path::new("/")).is_err());
        assert_eq!(run_script("echo it\n", Path::new("/")).unwrap(), "it\n");
    }
}
