//! The test of the test: the shim broken on purpose, one rule at a time, in a copy of its sources. Something must
//! notice each within a minute: the oracle, or a named system test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mremap_tests::artifacts::Artifacts;

use crate::repo;

/// How long the oracle may look.
const SECONDS: u64 = 60;

/// Who is to notice.
#[derive(Clone, Copy)]
enum Finder {
    /// The comparison with the kernel.
    Oracle,
    /// The same in a process that lacks something.
    Confined(&'static str),
    /// An example that checks its own rule; it fails when the rule is broken.
    Example(&'static str),
}

/// One way to be wrong: `instead` stands where `code` was, which must be in the file exactly once.
struct Mutant {
    name: &'static str,
    file: &'static str,
    code: &'static str,
    instead: &'static str,
    finder: Finder,
}

const MUTANTS: [Mutant; 22] = [
    Mutant {
        // What an old kernel's own try leaves behind; this kernel's would simply succeed.
        name: "the kernel is tried first, which unmaps the destination",
        file: "shim/src/emulate/mod.rs",
        code: "    source.open_for_move(&wanted, is_known_to_cross, must_be_known);\n",
        instead: "    unsafe { libc::munmap(wanted.destination as *mut _, wanted.len as usize) };\n    source.open_for_move(&wanted, is_known_to_cross, must_be_known);\n",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "overlap is judged for each part by itself",
        file: "plan/src/request.rs",
        code: "            || self.overlaps(len);",
        instead: "            || (false && self.overlaps(len));",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "what lies under a gap's target is unmapped",
        file: "shim/src/emulate/mod.rs",
        code: "            Ok(Step::Gap(gap)) => record.gap(gap, wanted.target(gap.start)),\n            Ok(Step::Done)",
        instead: "            Ok(Step::Gap(gap)) => drop(unsafe { libc::munmap(wanted.target(gap.start) as *mut _, gap.len() as usize) }),\n            Ok(Step::Done)",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "the VMAs are looked at before an unaligned destination",
        file: "plan/src/request.rs",
        code: "            || space.offset_in_page(self.new) != 0\n",
        instead: "",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "the destination's end is not held against TASK_SIZE",
        file: "plan/src/request.rs",
        code: "            || self.new > space.task_size - len\n",
        instead: "",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "the VMA behind a gap is skipped when it is one page",
        file: "plan/src/plan.rs",
        code: "            return Ok(self.before(part.start));",
        instead: "            let skipped = if part.len() == 4096 { part.end } else { part.start };\n            return Ok(self.before(skipped));",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "a leading gap is stepped over",
        file: "plan/src/plan.rs",
        code: "        if !self.seen_vma {\n            return Step::Refused(Errno::EFAULT);\n        }\n        self.is_waiting",
        instead: "        self.is_waiting",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "a trailing gap is no company",
        file: "plan/src/plan.rs",
        code: "(self.seen_vma || vma.range.end < end)",
        instead: "self.seen_vma",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "every file may move with others",
        file: "plan/src/vma.rs",
        code: "self.backing != Backing::PlacedByDriver",
        instead: "self.backing == self.backing",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "userfaultfd is not looked for",
        file: "plan/src/vma.rs",
        code: "        !self.userfaultfd && ",
        instead: "        ",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "later parts forget DONTUNMAP",
        file: "shim/src/emulate/mod.rs",
        code: "        flags: wanted.flags,\n",
        instead: "        flags: if start == wanted.source.start { wanted.flags } else { Flags(3) },\n",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "the last part is not cut at the range's end",
        file: "plan/src/plan.rs",
        code: "            start: self.cursor,\n            end,\n        });\n        if part.is_empty()",
        instead: "            start: self.cursor,\n            end: vma.range.end,\n        });\n        if part.is_empty()",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "the gap before a VMA is taken to be as guessed",
        file: "shim/src/discover/guesses.rs",
        code: "asked.is_free(range.end, gap.min(until - range.end))",
        instead: "Ok(true)",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "a trailing gap is an error",
        file: "plan/src/plan.rs",
        code: "        if !self.seen_vma {\n            return Step::Refused(Errno::EFAULT);\n        }\n        self.step_over(end)",
        instead: "        if !self.seen_vma || end > self.cursor {\n            return Step::Refused(Errno::EFAULT);\n        }\n        self.step_over(end)",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "lengths are rounded down",
        file: "plan/src/request.rs",
        code: "        length.wrapping_add(self.page_size - 1) & !",
        instead: "        length & !",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "success touches errno",
        file: "shim/src/emulate/mod.rs",
        code: "    record.finish(outcome, result);\n",
        instead: "    record.finish(outcome, result);\n    unsafe { *libc::__errno_location() = 0 };\n",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "a guessed gap is asked for its first page only",
        file: "shim/src/discover/guesses.rs",
        code: "shape.gap == 0 || asked.is_free(from, shape.gap)?",
        instead: "shape.gap == 0 || asked.is_free(from, 4096)?",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "a guessed VMA's end is not asked for where no gap follows",
        file: "shim/src/discover/guesses.rs",
        code: "Ok(asked.ends_at(range.end))",
        instead: "Ok(true)",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "a gap has no end beyond TASK_SIZE",
        file: "shim/src/discover/bisect.rs",
        code: "let until = below_task_size(until);",
        instead: "",
        finder: Finder::Confined("no-proc"),
    },
    Mutant {
        name: "a file is opened under a filter",
        file: "shim/src/discover/mod.rs",
        code: "config::VmaSource::Auto && !sandbox::is_filtered()\n",
        instead: "config::VmaSource::Auto\n",
        finder: Finder::Confined("seccomp"),
    },
    Mutant {
        name: "/dev/zero is known by its path alone",
        file: "shim/src/discover/mounts.rs",
        code: "may_be_zero && is_zero(path)",
        instead: "false && is_zero(path)",
        finder: Finder::Oracle,
    },
    Mutant {
        name: "signals arrive between parts",
        file: "shim/src/emulate/move_lock.rs",
        code: "sys::set_blocked_signals(signals_to_block())",
        instead: "sys::set_blocked_signals(0)",
        finder: Finder::Example("signal_moves"),
    },
];

/// Breaks, builds and looks, mutant by mutant; fails when one goes unnoticed or cannot be made.
pub fn run(seed: u64) -> Result<ExitCode> {
    let artifacts = Artifacts::prepare()?;
    let home = artifacts.root.with_file_name("mutants");
    let mut unnoticed = Vec::new();
    for mutant in &MUTANTS {
        let shim = build(&home, mutant).with_context(|| format!("mutant {:?}", mutant.name))?;
        let start = Instant::now();
        let noticed = is_noticed_at_last(&artifacts, &shim, mutant, seed)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{:>6.1} s  {}: {}",
            seconds,
            if noticed { "noticed" } else { "NOT NOTICED" },
            mutant.name
        );
        if !noticed {
            unnoticed.push(mutant.name);
        }
    }
    let noticed = MUTANTS.len() - unnoticed.len();
    println!("mutants: {noticed} passed, {} failed", unnoticed.len());
    Ok(if unnoticed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the broken shim from a copy of the sources, with a target directory of its own.
fn build(home: &Path, mutant: &Mutant) -> Result<PathBuf> {
    let sources = home.join("sources");
    let _ = fs::remove_dir_all(&sources);
    for folder in ["plan", "trace", "shim", ".cargo"] {
        copy_folder(&repo::root().join(folder), &sources.join(folder))?;
    }
    let manifest = fs::read_to_string(repo::root().join("Cargo.toml"))?;
    let members = manifest
        .lines()
        .map(|line| {
            if line.starts_with("members = ") {
                "members = [\"plan\", \"trace\", \"shim\"]"
            } else {
                line
            }
        })
        .collect::<Vec<_>>();
    fs::write(sources.join("Cargo.toml"), members.join("\n"))?;
    fs::copy(repo::root().join("Cargo.lock"), sources.join("Cargo.lock"))?;
    break_it(&sources.join(mutant.file), mutant)?;
    let mut command = repo::cargo();
    command
        .current_dir(&sources)
        .args(["build", "--quiet", "--release", "--offline", "-p", "mremap-shim"])
        .arg("--target-dir")
        .arg(home.join("target"))
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    repo::capture(&mut command)?;
    Ok(home.join("target/release/libmremap_shim.so"))
}

fn break_it(file: &Path, mutant: &Mutant) -> Result<()> {
    let broken = mutant.applied_to(&fs::read_to_string(file)?)?;
    Ok(fs::write(file, broken)?)
}

impl Mutant {
    fn applied_to(&self, text: &str) -> Result<String> {
        let count = text.matches(self.code).count();
        if count != 1 {
            bail!(
                "{}: the code to break is there {count} times; bring the mutant up to date in xtask/src/mutants.rs",
                self.file
            );
        }
        Ok(text.replacen(self.code, self.instead, 1))
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in
        fs::read_dir(from).with_context(|| format!("{}: cannot be read", from.display()))?
    {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn is_noticed_at_last(
    artifacts: &Artifacts,
    shim: &Path,
    mutant: &Mutant,
    seed: u64,
) -> Result<bool> {
    // A signal has to come at the right moment for an example to notice: on a quiet machine in one run of forty.
    let repeats = matches!(mutant.finder, Finder::Example(_));
    let start = Instant::now();
    loop {
        if is_noticed(artifacts, shim, mutant, seed)? {
            return Ok(true);
        }
        if !repeats || start.elapsed().as_secs() >= SECONDS {
            return Ok(false);
        }
    }
}

fn is_noticed(artifacts: &Artifacts, shim: &Path, mutant: &Mutant, seed: u64) -> Result<bool> {
    let mut command = match mutant.finder {
        Finder::Oracle | Finder::Confined(_) => {
            let mut command = Command::new(artifacts.oracle());
            command.arg("compare").arg("--shim").arg(shim);
            command.arg("--named").arg(repo::root().join("oracle/named"));
            if let Finder::Confined(sandbox) = mutant.finder {
                command.args(["--sandbox", sandbox]);
            }
            command.args(["--cases", "1000000", "--seed", &seed.to_string()]);
            command.args(["--seconds", &SECONDS.to_string()]);
            command
        }
        Finder::Example(name) => {
            let mut command = Command::new(artifacts.example(name));
            command.env("LD_PRELOAD", shim).env("MREMAP_SHIM_MODE", "emulate");
            command
        }
    };
    let output = command.stdin(Stdio::null()).output().context("the finder cannot be run")?;
    // 1 is what both say when they saw something wrong. An example in a broken process may well die of it.
    match (output.status.code(), mutant.finder) {
        (Some(0), _) => Ok(false),
        (Some(1), _) | (None, Finder::Example(_)) => Ok(true),
        _ => bail!(
            "the finder failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_can_still_be_made() {
        for mutant in &MUTANTS {
            let sources = fs::read_to_string(repo::root().join(mutant.file)).expect(mutant.file);
            let broken = mutant.applied_to(&sources).expect(mutant.name);
            assert_ne!(broken, sources, "{}", mutant.name);
        }
    }
}
