//! Whether the preload library loads, whether its hooks fire, and what it would do here.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::check::{Check, Group};
use super::self_test::{self, Answers, Trial};
use crate::load::{self, Index, in_order};
use crate::model::{Event, names};

const HERE: Group = Group::Shim;
/// Every variable that the shim knows, without its prefix.
const SETTINGS: [&str; 10] = [
    "LIBC",
    "MODE",
    "TRACE",
    "TRACE_SIZE",
    "TRACE_KEEP",
    "TRACE_DETAIL",
    "STACK",
    "CHILDREN",
    "PROGRAMS",
    "VMA_SOURCE",
];
/// What the analyzer knows beside them.
const LIBRARY: &str = "LIBRARY";

/// Examines it.
pub fn look(library: &Result<PathBuf>, native: &Result<Answers, String>) -> Vec<Check> {
    let mut checks = Vec::new();
    match library {
        Err(error) => checks.push(Check::problem(
            HERE,
            "library",
            format!("{error:#}"),
            "build it (cargo build --release) or name it with --shim",
        )),
        Ok(library) => {
            checks.push(Check::fine(HERE, "library", format!("{}", library.display())));
            let kernel_can = native.as_ref().is_ok_and(|answers| answers.several == 0);
            checks.extend(try_it(library, native));
            if kernel_can && !checks.iter().any(Check::is_problem) {
                checks.extend(emulation(library));
            }
            if !checks.iter().any(Check::is_problem) {
                checks.extend(own_calls_of_libc(library));
            }
        }
    }
    checks.extend(settings());
    checks.extend(other_preloads());
    checks
}

/// What the self-test left in its trace.
struct Seen {
    events: Vec<Event>,
    messages: Vec<String>,
}

fn try_it(library: &Path, native: &Result<Answers, String>) -> Vec<Check> {
    let kernel_can = native.as_ref().is_ok_and(|answers| answers.several == 0);
    let (answers, said, seen) = match record(library, Trial::Auto) {
        Ok(found) => found,
        Err(error) => {
            return vec![Check::problem(
                HERE,
                "loads",
                format!("under the shim, {error:#}"),
                "see what the loader says above; is the library built for this machine, and its file system not \
                 mounted noexec?",
            )];
        }
    };
    let Some(seen) = seen else {
        return vec![not_loaded(library, &said)];
    };
    let mut checks =
        vec![Check::fine(HERE, "loads", "it loads: a program started under it left a trace")];
    // What fails without the shim, too, was told of the machine.
    let works = native.as_ref().is_ok_and(|answers| answers.grow == 0);
    if !works {
        return checks;
    }
    checks.extend(hooks(&answers, &seen));
    checks.push(behaviour(&seen, kernel_can));
    for message in &seen.messages {
        checks.push(Check::note(HERE, "said", format!("the shim says: {message}")));
    }
    checks
}

fn not_loaded(library: &Path, said: &str) -> Check {
    let own = crate::program::own_path();
    let is_static = own.is_some_and(|own| crate::program::inspect(&own).is_err());
    if is_static {
        return Check::note(
            HERE,
            "loads",
            "cannot be tried: this analyzer is itself statically linked, or of another libc",
        )
        .with_fix(format!(
            "LD_PRELOAD={} MREMAP_SHIM_TRACE=DIRECTORY PROGRAM leaves a file in DIRECTORY if it loads",
            library.display()
        ));
    }
    let loader = if said.is_empty() {
        "the loader said nothing".to_owned()
    } else {
        format!("it said: {said}")
    };
    Check::problem(
        HERE,
        "loads",
        format!(
            "a program started under it left no trace: the library was not loaded, or could not write ({loader})"
        ),
        "is it built for this machine and libc, readable for this user, and on a file system not mounted noexec?",
    )
}

fn record(library: &Path, trial: Trial) -> Result<(Answers, String, Option<Seen>)> {
    let directory = tempfile::tempdir().context("there is no temporary directory")?;
    let (answers, said) =
        self_test::under_shim(library, directory.path(), trial).map_err(anyhow::Error::msg)?;
    let files = load::traces_in(directory.path());
    if files.is_empty() {
        return Ok((answers, said, None));
    }
    let mut traces = load::open(&files);
    let index = Index::build(&mut traces);
    let mut events = Vec::new();
    in_order(
        &traces,
        &index,
        |_| true,
        |_, event| {
            events.push(event);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let processes = traces.processes.iter();
    let messages = processes.flat_map(|process| process.found.notes.messages.clone()).collect();
    Ok((answers, said, Some(Seen { events, messages })))
}

fn hooks(answers: &Answers, seen: &Seen) -> Vec<Check> {
    let failed = [("by symbol", answers.grow), ("through syscall()", answers.by_number)];
    for (how, errno) in failed {
        if errno != 0 {
            return vec![Check::problem(
                HERE,
                "hooks",
                format!("a plain call {how} failed under it ({})", names::errno(errno as u32)),
                "it works without it, so this is a defect of the shim: please report it",
            )];
        }
    }
    let (made, recorded) = (self_test::CALLS, seen.events.len());
    if made == recorded {
        return vec![Check::fine(
            HERE,
            "hooks",
            format!(
                "its hooks fire: of {made} calls, by symbol and through syscall(), {recorded} are in the trace"
            ),
        )];
    }
    vec![Check::problem(
        HERE,
        "hooks",
        format!("of {made} calls made under it, {recorded} are in the trace"),
        "another preloaded library may take the calls first: empty LD_PRELOAD and /etc/ld.so.preload and try again",
    )]
}

fn outcome(seen: &Seen) -> (&'static str, usize, usize, Option<u32>) {
    seen.events.last().map_or(("nothing", 0, 0, None), |event| {
        let name = event.call.outcome.name();
        (name, event.parts.len(), event.gaps.len(), event.call.errno())
    })
}

fn behaviour(seen: &Seen, kernel_can: bool) -> Check {
    let name = "behaviour";
    match outcome(seen) {
        ("native", _, _, None) if kernel_can => Check::fine(
            HERE,
            name,
            "it would hand every move to this kernel, which has the feature, and record it (mode auto)",
        ),
        ("emulated", parts, gaps, None) => Check::fine(
            HERE,
            name,
            format!(
                "it would cut moves of several VMAs into single ones, since this kernel cannot (mode auto); one of \
                 {parts} parts and {gaps} gap was emulated just now"
            ),
        ),
        (what, _, _, errno) => Check::problem(
            HERE,
            name,
            format!(
                "a move of two VMAs and a gap ended in {what}{}",
                errno.map(|errno| format!(", {}", names::errno(errno))).unwrap_or_default()
            ),
            "a sandbox may forbid what the shim needs (mremap, mmap, mprotect); allow it, or report this",
        ),
    }
}

/// Where the kernel has the feature, the emulation is tried all the same: it is what other machines will get.
fn emulation(library: &Path) -> Option<Check> {
    let (answers, _, seen) = record(library, Trial::Emulate).ok()?;
    let (what, parts, gaps, errno) = outcome(&seen?);
    let right = what == "emulated" && errno.is_none() && answers.intact;
    Some(if right {
        Check::fine(
            HERE,
            "emulation",
            format!(
                "asked to emulate all the same (--mode emulate), it moved {parts} parts and {gaps} gap, rightly"
            ),
        )
    } else {
        Check::problem(
            HERE,
            "emulation",
            format!("asked to emulate all the same (--mode emulate), it came to {what}"),
            "please report this with the output of doctor",
        )
    })
}

/// Whether the calls that libc makes to itself can be had, too.
fn own_calls_of_libc(library: &Path) -> Option<Check> {
    let seen = record(library, Trial::OwnCallsOfLibc).ok()?.2?;
    if seen.events.len() > self_test::CALLS {
        return Some(Check::fine(
            HERE,
            "libc",
            "calls that libc makes to itself (realloc) can be recorded, too: run --libc patch (tried just now)",
        ));
    }
    let why = seen.messages.iter().find(|message| message.contains("libc"));
    let why = why.map_or_else(|| "the shim does not know its code".to_owned(), Clone::clone);
    Some(
        Check::note(
            HERE,
            "libc",
            format!("calls that libc makes to itself (realloc) cannot be recorded with --libc patch: {why}"),
        )
        .with_fix("glibc 2.34 and newer: MALLOC_CHECK_=1 LD_PRELOAD=libc_malloc_debug.so.0 mremap-analyzer run -- PROGRAM"),
    )
}

/// Settings that would be taken for nothing.
fn settings() -> Vec<Check> {
    let set = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_string_lossy().strip_prefix("MREMAP_SHIM_")?.to_owned();
        Some((name, value.to_string_lossy().into_owned()))
    });
    let mut checks = Vec::new();
    for (name, value) in set {
        if SETTINGS.contains(&name.as_str()) {
            checks.push(Check::note(
                HERE,
                "setting",
                format!("MREMAP_SHIM_{name}={value} is set here; `run` sets its own"),
            ));
        } else if name != LIBRARY {
            checks.push(Check::problem(
                HERE,
                "setting",
                format!("MREMAP_SHIM_{name} is set, and the shim knows no such variable"),
                format!("it knows {}, each behind MREMAP_SHIM_", SETTINGS.join(", ")),
            ));
        }
    }
    checks
}

fn other_preloads() -> Vec<Check> {
    let variable = std::env::var("LD_PRELOAD").unwrap_or_default();
    let file = std::fs::read_to_string("/etc/ld.so.preload").unwrap_or_default();
    [("LD_PRELOAD", variable), ("/etc/ld.so.preload", file)]
        .into_iter()
        .filter(|(_, list)| !list.trim().is_empty())
        .map(|(place, list)| {
            let list = list.split_whitespace().collect::<Vec<_>>().join(" ");
            Check::note(
                HERE,
                "preload",
                format!(
                    "{place} names {list}: `run` keeps it, behind the shim (sanitizers before it)"
                ),
            )
        })
        .collect()
}
