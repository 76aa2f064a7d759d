//! The size of a trace, and the memory of a traced process beyond it.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mremap_trace::{Header, layout};

use super::exports;
use crate::limited;
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "trace";
/// Rounds, after one that is not measured.
const ROUNDS: usize = 9;
const CALLS: usize = 20_000;

/// The rows.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let directory = subject.trace_directory()?;
    let traced = subject.shim().set("TRACE", directory.path());
    let arguments = [format!("--rounds={ROUNDS}"), format!("--calls={CALLS}")];
    subject.run("bench-calls", &arguments, &traced)?;
    let file = fs::read_dir(directory.path())?
        .next()
        .context("no trace: the library was not loaded")??;
    let bytes = fs::read(file.path())?;
    let (header, _) = Header::decode(&bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(header.lost() == 0, "{} calls are not in the trace", header.lost());
    // Each round makes one call that is not timed.
    let calls = (ROUNDS + 1) * (CALLS + 1);
    let used = header.chunks as usize * layout::CHUNK_SIZE;
    let memory = memory(subject, &traced, &directory)?;
    Ok(vec![
        Row::new(SUITE, "record of a forwarded call", "")
            .measured("B", vec![layout::SLOT_SIZE as f64])
            .goal(Goal::AtMost(64.0)),
        Row::new(SUITE, "chunks for a forwarded call", "")
            .measured("B", vec![used as f64 / calls as f64]),
        Row::new(SUITE, "Parquet of a random resize", "")
            .measured("B", vec![parquet(subject)?])
            .goal(Goal::AtMost(15.0)),
        Row::new(SUITE, "memory beyond the file, traced", "untraced")
            .measured("KiB", memory)
            .goal(Goal::AtMost(100.0)),
    ])
}

/// Bytes of Parquet for a call of a program that makes random resizes.
fn parquet(subject: &Subject) -> Result<f64> {
    const CALLS: usize = 200_000;
    let directory = subject.trace_directory()?;
    let (trace, target) = (directory.path().join("trace"), directory.path().join("parquet"));
    fs::create_dir(&trace)?;
    let mut command = Command::new(subject.programs.join("bench-resizes"));
    command.arg(format!("--calls={CALLS}"));
    subject.shim().set("TRACE", &trace).apply(&mut command);
    limited::output(&mut command)?;
    exports::export(subject, "parquet", &trace, &target)?;
    Ok(exports::size(&target)? as f64 / CALLS as f64)
}

/// KiB of memory that a traced process has more than an untraced one, without the trace.
fn memory(subject: &Subject, traced: &Setup, directory: &tempfile::TempDir) -> Result<Vec<f64>> {
    let name = directory.path().to_string_lossy().into_owned();
    let resident = |setup: &Setup| -> Result<f64> {
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/smaps");
        setup.apply(&mut command);
        let output = command.output().context("/bin/cat: cannot be run")?;
        Ok(resident_kib(&String::from_utf8_lossy(&output.stdout), &name))
    };
    let untraced = subject.shim();
    (0..9).map(|_| Ok(resident(traced)? - resident(&untraced)?)).collect()
}

/// KiB of private resident memory, except of files in `left_out`.
fn resident_kib(smaps: &str, left_out: &str) -> f64 {
    let mut is_counted = true;
    let mut sum = 0.0;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            is_counted = !line.contains(left_out);
        } else if is_counted && first.starts_with("Private_") {
            let figure = line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
            sum += figure.unwrap_or_default();
        }
    }
    sum
}
