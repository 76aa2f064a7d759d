//! What `run` says on stderr after the program has ended.

use std::path::Path;

use mremap_trace::{Detail, Outcome};
use tracing::debug;

use super::launch::Directory;
use super::names::ProgramNames;
use crate::load::{self, Process};
use crate::model::Filter;
use crate::stats::Overview;
use crate::symbols::{SymbolOptions, Symbols};

/// A program that has ended, and where its traces should be.
pub struct Traced<'a> {
    /// The directory for its traces.
    pub directory: Directory,
    /// Whether to keep a temporary directory without calls in it.
    pub keep: bool,
    /// The program.
    pub program: &'a Path,
    /// The preload library; `None` under the tracer, which makes a trace at a process's first call.
    pub library: Option<&'a Path>,
    /// Whether the calls that libc makes to itself are recorded.
    pub sees_libc: bool,
}

/// Prints the numbers of calls, and the next command. Returns whether anything was recorded.
pub fn summarize(traced: &Traced, names: Option<&ProgramNames>) -> bool {
    let mut files = load::traces_in(&traced.directory.path);
    files.retain(|file| !traced.directory.earlier.contains(file));
    if files.is_empty() {
        eprintln!("mremap-analyzer: {}", why_nothing(traced, names));
        discard(traced, traced.keep);
        return traced.library.is_none();
    }
    let mut traces = load::open(&files);
    let symbols = Symbols::new(SymbolOptions { no_symbols: true, ..SymbolOptions::default() });
    let overview = Overview::of(&mut traces, &mut Filter::default(), &symbols);
    let damage = traces.damage();
    for damage in &damage {
        eprintln!("mremap-analyzer: {damage}");
    }
    remove_idle(&traces.processes, &overview);
    if overview.calls == 0 && damage.is_empty() {
        eprintln!("mremap-analyzer: {}", no_calls(traced));
        let still_running = traces.processes.iter().any(Process::is_alive);
        discard(traced, traced.keep || still_running);
        return true;
    }
    eprintln!(
        "mremap-analyzer: {}; next: mremap-analyzer report {}",
        calls_by_outcome(&overview),
        traced.directory.path.display()
    );
    let has_vmas = |process: &Process| process.header.detail == Some(Detail::Vmas);
    let native = Outcome::ALL.iter().position(|outcome| *outcome == Outcome::Native);
    let native = native.and_then(|at| overview.outcomes.get(at));
    if native.is_some_and(|native| native.times.count() > 0)
        && !traces.processes.iter().all(has_vmas)
    {
        eprintln!(
            "mremap-analyzer: check cannot judge native moves without their VMAs; to record them: run --detail vmas"
        );
    }
    true
}

/// Removes the traces of processes that have ended without a call and without an error: a shell
/// script leaves dozens.
fn remove_idle(processes: &[Process], overview: &Overview) {
    for stats in overview.processes.iter().filter(|stats| stats.total.calls == 0) {
        let Some(process) = processes.get(stats.process) else { continue };
        let is_whole = process.header.lost() == 0
            && process.damage.is_empty()
            && process.found.damage.is_empty();
        let has_ended = process.running == Some(false);
        if has_ended
            && is_whole
            && !process.found.notes.has_errors()
            && let Err(error) = std::fs::remove_file(&process.file)
        {
            debug!("{}: {error}", process.file.display());
        }
    }
}

fn calls_by_outcome(overview: &Overview) -> String {
    let outcomes = Outcome::NAMES.iter().zip(&overview.outcomes);
    let counts: Vec<String> = outcomes
        .filter(|(_, outcome)| outcome.times.count() > 0)
        .map(|(name, outcome)| match outcome.failed {
            0 => format!("{} {name}", outcome.times.count()),
            failed => format!("{} {name} ({failed} failed)", outcome.times.count()),
        })
        .collect();
    if counts.is_empty() { "no calls of mremap".to_owned() } else { counts.join(", ") }
}

fn no_calls(traced: &Traced) -> &'static str {
    if traced.sees_libc {
        "no calls of mremap"
    } else {
        "no calls of mremap from outside libc; to see those of realloc, too: run --libc patch"
    }
}

fn why_nothing(traced: &Traced, names: Option<&ProgramNames>) -> String {
    let (directory, program) = (traced.directory.path.display(), traced.program.display());
    if let Some(names) = names {
        return format!(
            "no trace in {directory}: {}; the program that ran is {}",
            names.describe(),
            ProgramNames::describe_file(traced.program)
        );
    }
    let Some(library) = traced.library else { return no_calls(traced).to_owned() };
    format!(
        "no trace in {directory}: the loader did not load {} (see its message above), or the program dropped \
         LD_PRELOAD, changed its user or root, or could not write there; next: mremap-analyzer doctor {program}",
        library.display()
    )
}

/// Removes a temporary directory without calls in it.
fn discard(traced: &Traced, keep: bool) {
    if keep && traced.directory.is_temporary {
        eprintln!("mremap-analyzer: kept {}", traced.directory.path.display());
    } else {
        traced.directory.discard();
    }
}
