//! `cargo xtask commits`: checks the messages of the commits that a branch adds.
//!
//! A title has at most 72 characters. A commit that changes more than 30 lines has a body. Merges
//! are exempt, and so are commits that are in the base branch, in the last tag, or before the
//! commit in `.ci/commits-checked-from`.

use fs_err as fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::repo;

/// Limit of a title in characters.
const TITLE: usize = 72;
/// Changed lines from which a commit needs a body.
const LINES: u64 = 30;
/// Branches that a branch may be compared with.
const BASES: [&str; 2] = ["origin/main", "main"];

/// Which commits to check.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Check the commits that are not in this revision [default: those that the branch adds]
    base: Option<String>,
}

/// Checks them and prints every offence.
pub fn run(options: &Options) -> Result<ExitCode> {
    let Some(bases) = bases(repo::root(), options.base.as_deref()) else {
        println!("commits: not checked, since this clone contains no base to compare with");
        return Ok(ExitCode::SUCCESS);
    };
    let offences = check(repo::root(), &bases)?;
    for offence in &offences {
        println!("{offence}");
    }
    Ok(ExitCode::from(u8::from(!offences.is_empty())))
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    repo::capture(Command::new("git").args(arguments).current_dir(root))
}

/// The revisions whose commits are exempt; `None` if there is none, as in a shallow clone.
fn bases(root: &Path, given: Option<&str>) -> Option<Vec<String>> {
    if let Some(given) = given {
        return Some(vec![given.to_owned()]);
    }
    let id = |revision: &str| {
        let id =
            git(root, &["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]);
        id.ok().map(|id| id.trim().to_owned())
    };
    let head = id("HEAD")?;
    let recorded = fs::read_to_string(root.join(".ci/commits-checked-from")).unwrap_or_default();
    let tag = git(root, &["describe", "--tags", "--abbrev=0", "HEAD^"]).unwrap_or_default();
    let candidates = BASES.into_iter().chain([recorded.trim(), tag.trim()]);
    let found = candidates.filter(|revision| !revision.is_empty()).filter_map(id);
    // On the base branch itself there is nothing to compare with.
    let bases: Vec<String> = found.filter(|id| *id != head).collect();
    (!bases.is_empty()).then_some(bases)
}

/// Checks the commits of HEAD that are in none of the bases.
fn check(root: &Path, bases: &[String]) -> Result<Vec<String>> {
    let format = "--format=%x00%h%x01%s%x01%b%x01";
    let mut arguments = vec!["log", "--no-merges", "--numstat", format, "HEAD", "--not"];
    arguments.extend(bases.iter().map(String::as_str));
    let log = git(root, &arguments)?;
    Ok(log.split('\0').skip(1).flat_map(offences).collect())
}

/// The offences of one commit in the log.
fn offences(commit: &str) -> Vec<String> {
    let fields: Vec<&str> = commit.splitn(4, '\x01').collect();
    let [id, title, body, numbers] = fields[..] else { return Vec::new() };
    let count = |line: &str| {
        let counts = line.split('\t').take(2).filter_map(|count| count.parse::<u64>().ok());
        counts.sum::<u64>()
    };
    let changed: u64 = numbers.lines().map(count).sum();
    let mut offences = Vec::new();
    let length = title.chars().count();
    if length > TITLE {
        offences.push(format!("{id}: the title has {length} characters, limit {TITLE}: {title}"));
    }
    if changed > LINES && body.trim().is_empty() {
        offences.push(format!("{id}: {changed} lines are changed without a body: {title}"));
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(root: &Path, lines: usize, message: &str) {
        fs::write(root.join("file"), "line\n".repeat(lines)).unwrap();
        git(root, &["add", "."]).unwrap();
        let identity = ["-c", "user.name=n", "-c", "user.email=e"];
        let arguments = [&identity[..], &["commit", "-q", "-m", message]].concat();
        git(root, &arguments).unwrap();
    }

    #[test]
    fn finds_long_titles_and_missing_bodies() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        git(root, &["init", "-q", "-b", "main"]).unwrap();
        commit(root, 1, &"long ".repeat(20));
        assert_eq!(bases(root, None), None, "main has no base");
        git(root, &["checkout", "-q", "-b", "branch"]).unwrap();
        commit(root, 2, &"longer ".repeat(12));
        commit(root, 40, "Add lines");
        commit(root, 80, "Add more lines\n\nBecause.");
        let bases = bases(root, None).unwrap();
        let offences = check(root, &bases).unwrap();
        assert_eq!(offences.len(), 2, "{offences:?}");
        assert!(offences[0].contains("38 lines are changed without a body: Add lines"));
        assert!(offences[1].contains("the title has 83 characters"), "{offences:?}");
    }
}
