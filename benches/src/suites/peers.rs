//! What other tools add to a call, if they are installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::lttng::Session;
use super::{exports, readers};
use crate::limited;
use crate::stats::{Summary, differences, named};
use crate::subject::{Setup, Subject, parse};
use crate::table::Row;

pub(super) const SUITE: &str = "peers";
/// Runs of each tool, and rounds of a run.
const PROCESSES: usize = 9;
const ROUNDS: usize = 5;
const MEMUSAGE: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/libmemusage.so", "/usr/lib/aarch64-linux-gnu/libmemusage.so"];
/// What peers are relative to.
const BARE: &str = "bare mremap";

/// A tool that traces from outside the program: by ptrace, or by the kernel's tracepoints.
struct Tracer {
    what: &'static str,
    /// Its program and arguments, before the traced program's.
    command: &'static [&'static str],
    /// Calls for one figure, so that a run takes a tenth of a second.
    calls: usize,
}

const TRACERS: [Tracer; 3] = [
    Tracer {
        what: "strace -f -e mremap",
        command: &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mremap"],
        calls: 500,
    },
    Tracer {
        what: "perf trace -e mremap",
        command: &["perf", "trace", "-e", "mremap", "-o", "/dev/null"],
        calls: 1000,
    },
    Tracer {
        what: "kernel tracepoints, enter and exit, perf record",
        command: &[
            "perf",
            "record",
            "-q",
            "-o",
            "/dev/null",
            "-e",
            "syscalls:sys_enter_mremap,syscalls:sys_exit_mremap",
        ],
        calls: 10_000,
    },
];

/// The rows of the installed peers, and a line for each of the others.
pub fn rows(subject: &Subject) -> (Vec<Row>, Vec<String>) {
    let mut found: Vec<(&str, Result<Vec<Row>>)> = vec![
        ("memusage", memusage(subject).map(|row| vec![row])),
        ("LTTng-UST", lttng(subject).map(|row| vec![row])),
    ];
    found.extend(
        TRACERS.iter().map(|tracer| (tracer.what, under(subject, tracer).map(|row| vec![row]))),
    );
    found.push(("DuckDB", readers::rows(subject)));
    found.extend(exports::rows(subject));
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for (what, figures) in found {
        match figures {
            Ok(figures) => rows.extend(figures),
            Err(error) => missing.push(format!("{what}: {error:#}")),
        }
    }
    (rows, missing)
}

fn memusage(subject: &Subject) -> Result<Row> {
    let library = MEMUSAGE.iter().map(Path::new).find(|path| path.exists());
    let library = library.context("libmemusage.so is not installed (Debian: libc-devtools)")?;
    let directory = subject.trace_directory()?;
    let data = directory.path().join("memusage.dat");
    let environment =
        [("MEMUSAGE_OUTPUT", data.as_path()), ("MEMUSAGE_TRACE_MMAP", Path::new("1"))];
    let added = preloaded(subject, library, &environment)?;
    Ok(Row::new(SUITE, "glibc memusage, with its data file", BARE).measured("ns", added))
}

fn lttng(subject: &Subject) -> Result<Row> {
    let session = Session::begin(subject)?;
    let added = preloaded(subject, &session.wrapper, &[])?;
    let bytes = session.recorded_bytes()?;
    ensure!(bytes > 1 << 20, "the session recorded {bytes} bytes: events were lost");
    Ok(Row::new(SUITE, "LTTng-UST, a wrapper with the same fields", BARE).measured("ns", added))
}

/// What a preloaded library adds to a call, one figure a process.
fn preloaded(subject: &Subject, library: &Path, environment: &[(&str, &Path)]) -> Result<Vec<f64>> {
    let setup = Setup::default().preload(library);
    let mut added = Vec::new();
    for _ in 0..PROCESSES {
        let mut command = Command::new(subject.programs.join("bench-calls"));
        command.arg(format!("--rounds={ROUNDS}"));
        setup.apply(&mut command);
        command.envs(environment.iter().copied());
        let output = limited::output(&mut command)?;
        let series = parse(&String::from_utf8_lossy(&output.stdout))?;
        added.push(
            Summary::of(differences(named(&series, "symbol"), named(&series, "direct"))).median,
        );
    }
    Ok(added)
}

/// Pairs of processes, under the tool and without it. In wall-clock time, since the tool works
/// while the program is stopped; read by the program, so that no start is included.
fn under(subject: &Subject, tracer: &Tracer) -> Result<Row> {
    let program = subject.programs.join("bench-calls");
    let wall = |before: &[&str]| -> Result<f64> {
        let mut command = match before.split_first() {
            Some((tool, arguments)) => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.args([format!("--rounds={ROUNDS}"), format!("--calls={}", tracer.calls)]);
        let output = limited::output(command.arg("--wall"))?;
        let series = parse(&String::from_utf8_lossy(&output.stdout))?;
        Ok(Summary::of(named(&series, "direct").to_vec()).median)
    };
    let pairs = (0..PROCESSES).map(|_| Ok(wall(tracer.command)? - wall(&[])?));
    let added = pairs.collect::<Result<Vec<f64>>>()?;
    Ok(Row::new(SUITE, tracer.what, BARE).measured("ns", added))
}
