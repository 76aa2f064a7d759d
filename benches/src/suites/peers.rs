//! What other tools add to the same call, where they are installed.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::readers;
use crate::stats::{Summary, differences, named};
use crate::subject::{Setup, Subject, parse};
use crate::suites::lttng::Session;
use crate::table::Row;

const SUITE: &str = "peers";
const MEMUSAGE: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/libmemusage.so",
    "/usr/lib/aarch64-linux-gnu/libmemusage.so",
];

/// The rows, and a line for each tool that is not here.
///
/// # Errors
/// A tool that is here fails.
pub fn rows(subject: &Subject) -> Result<(Vec<Row>, Vec<String>)> {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    match MEMUSAGE.iter().map(Path::new).find(|path| path.exists()) {
        Some(library) => rows.push(memusage(subject, library)?),
        None => skipped
            .push("memusage: libmemusage.so is not installed (Debian: libc-devtools, libc6)".to_owned()),
    }
    match lttng(subject) {
        Ok(row) => rows.push(row),
        Err(error) => skipped.push(format!("LTTng-UST: {error:#}")),
    }
    let tools: [(&str, &[&str]); 2] = [
        ("strace", &["-f", "-qq", "-o", "/dev/null", "-e", "trace=mremap"]),
        ("perf", &["trace", "-e", "mremap", "-o", "/dev/null"]),
    ];
    for (tool, arguments) in tools {
        match under(subject, tool, arguments) {
            Ok(row) => rows.push(row),
            Err(error) => skipped.push(format!("{tool}: {error:#}")),
        }
    }
    let (reading, missing) = readers::rows(subject)?;
    rows.extend(reading);
    skipped.extend(missing);
    Ok((rows, skipped))
}

fn memusage(subject: &Subject, library: &Path) -> Result<Row> {
    let directory = subject.trace_directory()?;
    let data = directory.path().join("memusage.dat");
    let environment = [
        ("MEMUSAGE_OUTPUT", data.as_path()),
        ("MEMUSAGE_TRACE_MMAP", Path::new("1")),
    ];
    let added = preloaded(subject, library, &environment)?;
    Ok(Row::new(SUITE, "glibc memusage, with its data file", BARE).measured("ns", added))
}

fn lttng(subject: &Subject) -> Result<Row> {
    let session = Session::begin(subject)?;
    let added = preloaded(subject, &session.wrapper, &[])?;
    let bytes = session.recorded_bytes()?;
    ensure!(
        bytes > 1 << 20,
        "the session took {bytes} bytes: events were lost, or none were made"
    );
    Ok(Row::new(SUITE, "LTTng-UST, a wrapper with the same fields", BARE).measured("ns", added))
}

const BARE: &str = "bare mremap";

/// What a preloaded library adds to a call, a figure a process.
fn preloaded(subject: &Subject, library: &Path, environment: &[(&str, &Path)]) -> Result<Vec<f64>> {
    let setup = Setup::default().preload(library);
    let mut added = Vec::new();
    for _ in 0..9 {
        let mut command = Command::new(subject.programs.join("bench-calls"));
        command.arg("--rounds=7").stderr(Stdio::null());
        setup.apply(&mut command);
        command.envs(environment.iter().copied());
        let output = command.output().context("bench-calls: cannot be run")?;
        let series = parse(&String::from_utf8_lossy(&output.stdout))?;
        added.push(Summary::of(differences(named(&series, "symbol"), named(&series, "direct"))).median);
    }
    Ok(added)
}

/// A tool that traces from another process: wall-clock time, since it stops the program.
fn under(subject: &Subject, tool: &str, arguments: &[&str]) -> Result<Row> {
    const CALLS: f64 = 1000.0;
    let wall = |calls: f64, is_traced: bool| -> Result<f64> {
        let program = subject.programs.join("bench-calls");
        let mut command = if is_traced {
            let mut command = Command::new(tool);
            command.args(arguments).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("--rounds=1").arg(format!("--calls={calls}"));
        let before = crate::clock::monotonic_ns();
        let output = command
            .output()
            .with_context(|| format!("{tool} is not installed"))?;
        let spent = crate::clock::monotonic_ns() - before;
        anyhow::ensure!(
            output.status.success(),
            "{} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .next()
                .unwrap_or_default()
        );
        Ok(spent as f64)
    };
    let mut added = Vec::new();
    for _ in 0..9 {
        // The lowest of three: the tool and the program take turns, and so does all else that wants the CPUs.
        let quickest = |calls, is_traced| -> Result<f64> {
            let figures = (0..3).map(|_| wall(calls, is_traced));
            figures
                .collect::<Result<Vec<f64>>>()
                .map(|all| all.into_iter().fold(f64::INFINITY, f64::min))
        };
        // Two variants, two figures each: four times `CALLS`. The difference of two lengths leaves the start out.
        let of = |is_traced| -> Result<f64> {
            Ok((quickest(2.0 * CALLS, is_traced)? - quickest(CALLS, is_traced)?) / (4.0 * CALLS))
        };
        added.push(of(true)? - of(false)?);
    }
    let name = std::iter::once(tool)
        .chain(arguments.iter().copied())
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    Ok(Row::new(SUITE, name, "the same untraced").measured("ns", added))
}
