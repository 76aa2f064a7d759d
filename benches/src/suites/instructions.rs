//! Instructions of the hook's paths, compared with `benches/instructions.toml`. They show a growth
//! on a busy machine, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::stepping;
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "instructions";
/// A path may grow by this factor before its recorded count must be changed.
pub const MAX_GROWTH: f64 = 1.10;

/// Counts by path.
pub type Counts = BTreeMap<String, u64>;

/// A path's name, its call and setup, and the setup and call that are subtracted.
type HookPath<'a> = (&'a str, &'a [&'a str], Setup, &'a Setup, &'a [&'a str]);

/// Counts every path, minus the same call without the library.
pub fn counts(subject: &Subject) -> Result<Counts> {
    let directory = subject.trace_directory()?;
    let stub = Setup::default().preload(&subject.stub);
    let stubbed = subject.shim().preload(&subject.stub);
    let emulating = subject.shim().set("MODE", "emulate");
    let bisecting = emulating.clone().set("VMA_SOURCE", "bisect");
    let traced = |setup: &Setup| setup.clone().set("TRACE", directory.path());
    let one = ["move"].as_slice();
    let several = ["move", "--vmas=17"].as_slice();
    let gaps = ["move", "--vmas=17", "--gap-pages=1"].as_slice();
    let resize = ["resize"].as_slice();
    let nothing = Setup::default();
    // The call without the library is the stub's, or the bare one.
    let paths: [HookPath<'_>; 9] = [
        ("passed-through", resize, stubbed.clone(), &stub, resize),
        ("passed-through-traced", resize, traced(&stubbed), &stub, resize),
        ("one-vma", one, emulating.clone(), &nothing, one),
        ("one-vma-traced", one, traced(&emulating), &nothing, one),
        ("17-vmas-bisect", several, bisecting.clone(), &nothing, one),
        ("17-vmas-gaps-bisect", gaps, bisecting.clone(), &nothing, one),
        ("17-vmas-gaps-bisect-traced", gaps, traced(&bisecting), &nothing, one),
        ("17-vmas-auto", several, emulating.clone(), &nothing, one),
        ("17-vmas-gaps-auto", gaps, emulating, &nothing, one),
    ];
    let mut counts = Counts::new();
    for (name, call, setup, bare, bare_call) in paths {
        let with = count(subject, call, &setup)?;
        let without = count(subject, bare_call, bare)?;
        counts.insert(name.to_owned(), with.saturating_sub(without));
    }
    Ok(counts)
}

fn count(subject: &Subject, arguments: &[&str], setup: &Setup) -> Result<u64> {
    let mut command = Command::new(subject.programs.join("bench-hook"));
    command.args(arguments);
    setup.apply(&mut command);
    stepping::count(&mut command).with_context(|| format!("bench-hook {}", arguments.join(" ")))
}

/// The rows, compared with the recorded counts.
pub fn rows(counts: &Counts, recorded: &Counts) -> Vec<Row> {
    let row = |(name, &count): (&String, &u64)| {
        let row =
            Row::new(SUITE, name.clone(), "recorded + 10 %").measured("ins", vec![count as f64]);
        match recorded.get(name) {
            Some(&known) => row.goal(Goal::AtMost((known as f64 * MAX_GROWTH).floor())),
            None => row,
        }
    };
    counts.iter().map(row).collect()
}

/// Paths that grew, paths without a record, and records without a path.
pub fn complaints(counts: &Counts, recorded: &Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, &count) in counts {
        match recorded.get(name) {
            None => complaints.push(format!("{name}: {count} instructions, not recorded")),
            Some(&known) if count as f64 > known as f64 * MAX_GROWTH => {
                complaints.push(format!("{name}: {count} instructions, {known} recorded"));
            }
            Some(_) => {}
        }
    }
    for name in recorded.keys().filter(|name| !counts.contains_key(*name)) {
        complaints.push(format!("{name}: recorded, but not counted"));
    }
    complaints
}

/// Reads the recorded counts: `name = count` lines, `#` comments.
pub fn read(path: &Path) -> Result<Counts> {
    let text = fs_err::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let parsed = lines.map(|line| {
        let (name, count) =
            line.split_once(" = ").with_context(|| format!("{}: {line}", path.display()))?;
        Ok((name.to_owned(), count.parse().with_context(|| format!("{}: {line}", path.display()))?))
    });
    parsed.collect()
}

/// Writes the counts as the recorded ones.
pub fn write(path: &Path, counts: &Counts) -> Result<()> {
    let mut text = String::from(
        "# User-space instructions that the preload library adds to one call, by path (release, x86-64).\n\
         # CI fails if a path grows by more than 10 %. The commit that makes it grow must record it\n\
         # (cargo xtask bench instructions --record), and say why.\n",
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{name} = {count}");
    }
    Ok(fs_err::write(path, text)?)
}

#[cfg(test)]
mod tests {
    use super::{Counts, complaints};

    fn counts(figures: &[(&str, u64)]) -> Counts {
        figures.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn permits_a_growth_of_a_tenth() {
        let recorded = counts(&[("path", 100)]);
        assert!(complaints(&counts(&[("path", 110)]), &recorded).is_empty());
        assert_eq!(
            complaints(&counts(&[("path", 111)]), &recorded),
            ["path: 111 instructions, 100 recorded"]
        );
    }

    #[test]
    fn requires_a_record_for_every_path() {
        let (one, other) = (counts(&[("one", 1)]), counts(&[("other", 1)]));
        assert_eq!(complaints(&one, &other).len(), 2);
    }
}
