//! A call that is passed through: what the hook adds, untraced and traced, by one thread and by two.

use anyhow::Result;

use crate::rounds::Series;
use crate::stats::{differences, named};
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "calls";

/// The rows.
///
/// # Errors
/// A measured program fails.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for threads in [1, 2] {
        let stubbed = pairs(subject, threads, true)?;
        rows.extend(hook_rows(threads, &stubbed));
    }
    let real = pairs(subject, 1, false)?;
    rows.push(
        Row::new(SUITE, "no-op resize, untraced", "bare mremap, same process")
            .measured("ns", real.untraced_adds.clone()),
    );
    rows.push(
        Row::new(SUITE, "no-op resize, traced", "bare mremap, same process")
            .measured("ns", real.traced_adds),
    );
    rows.push(Row::new(SUITE, "no-op resize, bare", "").measured("ns", real.bare));
    Ok(rows)
}

fn hook_rows(threads: usize, pairs: &Pairs) -> Vec<Row> {
    let by = if threads == 1 { "1 thread" } else { "2 threads" };
    let traced_goal = if threads == 1 { 50.0 } else { 60.0 };
    vec![
        Row::new(SUITE, format!("hook alone, untraced, {by}"), "stub called directly")
            .measured("ns", pairs.untraced_adds.clone())
            .goal(Goal::AtMost(5.0)),
        Row::new(SUITE, format!("hook alone, traced, {by}"), "the same untraced")
            .measured("ns", differences(&pairs.traced_adds, &pairs.untraced_adds))
            .goal(Goal::AtMost(traced_goal)),
        Row::new(SUITE, format!("hook alone, traced, keeping the last, {by}"), "the same untraced")
            .measured("ns", differences(&pairs.lapping_adds, &pairs.untraced_adds)),
    ]
}

/// What the hook adds, a figure a process; processes of each kind in turns.
#[derive(Default)]
struct Pairs {
    bare: Vec<f64>,
    untraced_adds: Vec<f64>,
    /// Into a file that is filled for the first time.
    traced_adds: Vec<f64>,
    /// Into a small file that keeps the last records, and so is filled again and again.
    lapping_adds: Vec<f64>,
}

fn pairs(subject: &Subject, threads: usize, is_stubbed: bool) -> Result<Pairs> {
    let directory = subject.trace_directory()?;
    let mut setup = subject.shim();
    let mut arguments = vec![format!("--threads={threads}"), "--rounds=7".to_owned()];
    if is_stubbed {
        setup = setup.preload(&subject.stub);
        arguments.push(format!("--stub={}", subject.stub.display()));
    }
    let traced = setup.clone().set("TRACE", directory.path()).set("TRACE_SIZE", "256M");
    let lapping = traced.clone().set("TRACE_SIZE", "1M").set("TRACE_KEEP", "last");
    let mut pairs = Pairs::default();
    for _ in 0..subject.rounds(21) {
        let adds = |setup: &Setup| -> Result<(f64, f64)> {
            let series = subject.run("bench-calls", &arguments, setup)?;
            for entry in std::fs::read_dir(directory.path())? {
                std::fs::remove_file(entry?.path())?;
            }
            let (symbol, direct) = (lowest(&series, "symbol"), lowest(&series, "direct"));
            Ok((symbol - direct, direct))
        };
        let (untraced, bare) = adds(&setup)?;
        pairs.untraced_adds.push(untraced);
        pairs.bare.push(bare);
        pairs.traced_adds.push(adds(&traced)?.0);
        pairs.lapping_adds.push(adds(&lapping)?.0);
    }
    Ok(pairs)
}

/// The lowest of a process's figures: what is above it is other work of the machine.
fn lowest(series: &[Series], name: &str) -> f64 {
    named(series, name).iter().copied().fold(f64::INFINITY, f64::min)
}
