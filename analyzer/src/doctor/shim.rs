//! Checks of the preload library: whether it loads, whether its hooks work, and what it does on
//! this kernel.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mremap_settings::{ALL, PREFIX, TRACE};
use mremap_trace::Outcome;

use super::check::{Check, Group};
use super::self_test::{self, Results, Trial};
use crate::load::{self, Index, in_order};
use crate::model::{Event, names};
use crate::program;

const GROUP: Group = Group::Shim;

/// Checks the library, given the results of the self-test without it.
pub fn check(library: &Result<PathBuf>, native: &Result<Results, String>) -> Vec<Check> {
    let mut checks = Vec::new();
    match library {
        Err(error) => checks.push(Check::problem(
            GROUP,
            "library",
            format!("{error:#}"),
            "build it (cargo build --release), or name it with --shim",
        )),
        Ok(library) => {
            checks.push(Check::fine(GROUP, "library", format!("{}", library.display())));
            let is_native = native.as_ref().is_ok_and(|results| results.several == 0);
            checks.extend(check_defaults(library, native));
            if is_native && !checks.iter().any(Check::is_problem) {
                checks.extend(check_emulation(library));
            }
            if !checks.iter().any(Check::is_problem) {
                checks.extend(check_libc_calls(library));
            }
        }
    }
    checks.extend(check_settings());
    checks.extend(check_preloads());
    checks
}

/// What a self-test under the shim left behind.
struct Trace {
    events: Vec<Event>,
    messages: Vec<String>,
}

/// One self-test under the shim.
struct Run {
    results: Results,
    /// What shim and loader printed on stderr.
    stderr: String,
    trace: Option<Trace>,
}

fn run_self_test(library: &Path, trial: Trial) -> Result<Run> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (results, stderr) =
        self_test::under_shim(library, directory.path(), trial).map_err(anyhow::Error::msg)?;
    let files = load::traces_in(directory.path());
    let trace = (!files.is_empty()).then(|| read_trace(&files)).transpose()?;
    Ok(Run { results, stderr, trace })
}

fn read_trace(files: &[PathBuf]) -> Result<Trace> {
    let mut traces = load::open(files);
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
    Ok(Trace { events, messages })
}

fn check_defaults(library: &Path, native: &Result<Results, String>) -> Vec<Check> {
    let run = match run_self_test(library, Trial::Auto) {
        Ok(run) => run,
        Err(error) => {
            return vec![Check::problem(
                GROUP,
                "loads",
                format!("under the shim, {error:#}"),
                "see the loader's message above; is the library built for this machine, and its file system not mounted \
                 noexec?",
            )];
        }
    };
    let Some(trace) = run.trace else {
        return vec![not_loaded(library, &run.stderr)];
    };
    let mut checks =
        vec![Check::fine(GROUP, "loads", "it loads: a program started under it left a trace")];
    // What fails without the shim as well is a problem of the machine.
    if native.as_ref().is_ok_and(|results| results.grow == 0) {
        let is_native = native.as_ref().is_ok_and(|results| results.several == 0);
        checks.push(check_hooks(&run.results, &trace));
        checks.push(check_behaviour(&trace, is_native));
        let messages = trace.messages.iter();
        checks
            .extend(messages.map(|it| Check::note(GROUP, "said", format!("the shim says: {it}"))));
    }
    checks
}

fn not_loaded(library: &Path, stderr: &str) -> Check {
    let own = program::own_path();
    if own.is_some_and(|own| program::inspect(&own).is_err()) {
        return Check::note(
            GROUP,
            "loads",
            "cannot be tried: this analyzer is statically linked, or linked with another libc",
        )
        .with_fix(format!(
            "LD_PRELOAD={} {}=DIRECTORY PROGRAM writes a file to DIRECTORY if it loads",
            library.display(),
            TRACE.name
        ));
    }
    let loader = if stderr.is_empty() { "the loader printed nothing" } else { stderr };
    Check::problem(
        GROUP,
        "loads",
        format!(
            "a program started under it left no trace: the library was not loaded, or could not write ({loader})"
        ),
        "is it built for this machine and libc, readable for this user, and on a file system not mounted noexec?",
    )
}

fn check_hooks(results: &Results, trace: &Trace) -> Check {
    for (how, errno) in [("by symbol", results.grow), ("through syscall()", results.by_number)] {
        if errno != 0 {
            return Check::problem(
                GROUP,
                "hooks",
                format!("a plain call {how} failed under it ({})", names::errno(errno as u32)),
                "it works without the shim, so this is a bug of the shim: please report it",
            );
        }
    }
    let (made, recorded) = (self_test::CALLS, trace.events.len());
    if made == recorded {
        return Check::fine(
            GROUP,
            "hooks",
            format!(
                "its hooks work: {recorded} of {made} calls, by symbol and through syscall(), are in the trace"
            ),
        );
    }
    Check::problem(
        GROUP,
        "hooks",
        format!("only {recorded} of {made} calls made under it are in the trace"),
        "another preloaded library may take the calls first: empty LD_PRELOAD and /etc/ld.so.preload and try again",
    )
}

/// What the trace says about the last call of a self-test, the move of two VMAs and a gap.
fn describe_move(trace: &Trace) -> String {
    let Some(event) = trace.events.last() else { return "no record".to_owned() };
    let outcome = event.call.outcome.name();
    let errno = event.call.errno().map(|errno| format!(", {}", names::errno(errno)));
    format!("{outcome}{}", errno.unwrap_or_default())
}

fn has_moved(trace: &Trace, outcome: Outcome) -> Option<&Event> {
    let event = trace.events.last();
    event.filter(|event| event.call.outcome == outcome && event.call.errno().is_none())
}

fn check_behaviour(trace: &Trace, is_native: bool) -> Check {
    let name = "behaviour";
    if is_native && has_moved(trace, Outcome::Native).is_some() {
        return Check::fine(
            GROUP,
            name,
            "it forwards every move to this kernel, which moves several VMAs itself, and records it (mode auto)",
        );
    }
    if let Some(event) = has_moved(trace, Outcome::Emulated) {
        return Check::fine(
            GROUP,
            name,
            format!(
                "it splits moves of several VMAs, since this kernel moves one at a time (mode auto); one of {} was \
                 emulated just now",
                event.count_of_parts().unwrap_or_default()
            ),
        );
    }
    Check::problem(
        GROUP,
        name,
        format!("a move of two VMAs and a gap ended as {}", describe_move(trace)),
        "a sandbox may forbid what the shim needs (mremap, mmap, mprotect): allow it, or report this",
    )
}

/// Tries the emulation on a kernel that does not need it, since other machines will.
fn check_emulation(library: &Path) -> Option<Check> {
    let run = run_self_test(library, Trial::Emulate).ok()?;
    let trace = run.trace?;
    let moved = has_moved(&trace, Outcome::Emulated).filter(|_| run.results.intact);
    Some(match moved {
        Some(event) => Check::fine(
            GROUP,
            "emulation",
            format!(
                "with --mode emulate it moved {} correctly",
                event.count_of_parts().unwrap_or_default()
            ),
        ),
        None => Check::problem(
            GROUP,
            "emulation",
            format!(
                "with --mode emulate a move of two VMAs and a gap ended as {}",
                describe_move(&trace)
            ),
            "please report this with the output of doctor",
        ),
    })
}

/// Tries to record the calls that libc makes to itself.
fn check_libc_calls(library: &Path) -> Option<Check> {
    let trace = run_self_test(library, Trial::LibcCalls).ok()?.trace?;
    if trace.events.len() > self_test::CALLS {
        return Some(Check::fine(
            GROUP,
            "libc",
            "calls that libc makes to itself (realloc) can be recorded as well: run --libc patch (just tried)",
        ));
    }
    let why = trace.messages.iter().find(|message| message.contains("libc"));
    let why = why.map_or("the shim does not know its code", String::as_str);
    Some(
        Check::note(
            GROUP,
            "libc",
            format!("calls that libc makes to itself (realloc) cannot be recorded with --libc patch: {why}"),
        )
        .with_fix(
            "glibc 2.34 and newer: MALLOC_CHECK_=1 LD_PRELOAD=libc_malloc_debug.so.0 mremap-analyzer run PROGRAM",
        ),
    )
}

/// Finds variables of the shim in the environment, and those that only look like one.
fn check_settings() -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if !name.starts_with(PREFIX) || name == mremap_settings::LIBRARY {
            continue;
        }
        checks.push(match mremap_settings::find(name.as_bytes()) {
            Some(_) => Check::note(
                GROUP,
                "setting",
                format!("{name}={value} is set; `run` sets its own value"),
            ),
            None => Check::problem(
                GROUP,
                "setting",
                format!("{name} is set, but the shim has no such setting"),
                format!("its settings are {}", ALL.map(|setting| setting.name).join(", ")),
            ),
        });
    }
    checks
}

fn check_preloads() -> Vec<Check> {
    let variable = std::env::var("LD_PRELOAD").unwrap_or_default();
    let file = std::fs::read_to_string("/etc/ld.so.preload").unwrap_or_default();
    [("LD_PRELOAD", variable), ("/etc/ld.so.preload", file)]
        .into_iter()
        .filter(|(_, list)| !list.trim().is_empty())
        .map(|(source, list)| {
            let list = list.split_whitespace().collect::<Vec<_>>().join(" ");
            Check::note(
                GROUP,
                "preload",
                format!(
                    "{source} names {list}: `run` keeps it, after the shim (sanitizers before it)"
                ),
            )
        })
        .collect()
}
