//! Forwarded calls: what the hook adds, untraced and traced, with one thread and with two. The
//! machine's floor is measured in the same run.

use anyhow::Result;

use crate::rounds::Series;
use crate::stats::{Summary, differences, named};
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "calls";
/// Call records of a chunk, which is a page of the trace.
const CALLS_OF_A_PAGE: f64 = 63.0;
/// What a traced call may add to the floor, in ns.
const OWN_COST: f64 = 25.0;

/// The rows.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let (mut rows, floor) = floor(subject)?;
    for threads in [1, 2] {
        rows.extend(hook_rows(threads, &pairs(subject, threads, true)?, floor));
    }
    let real = pairs(subject, 1, false)?;
    let bare = "bare mremap, same process";
    rows.extend([
        Row::new(SUITE, "no-op resize, untraced", bare).measured("ns", real.untraced_adds),
        Row::new(SUITE, "no-op resize, traced", bare).measured("ns", real.traced_adds),
        Row::new(SUITE, "no-op resize, bare", "").measured("ns", real.bare),
    ]);
    Ok(rows)
}

/// The machine's floor of a traced call, in rows and in ns: two reads of the counter, and a call's
/// share of a page of the trace.
fn floor(subject: &Subject) -> Result<(Vec<Row>, f64)> {
    let directory = subject.trace_directory()?;
    let arguments = [format!("--file={}", directory.path().display())];
    let series = subject.run("bench-probes", &arguments, &Setup::default())?;
    let figures = |name| named(&series, name).to_vec();
    let share: Vec<f64> =
        figures("page of a new file").iter().map(|ns| ns / CALLS_OF_A_PAGE).collect();
    let floor =
        Summary::of(figures("two counter reads")).median + Summary::of(share.clone()).median;
    let row = |what: &str, figures| Row::new(SUITE, what, "").measured("ns", figures);
    let rows = vec![
        row("floor: two counter reads", figures("two counter reads")),
        row("floor: a system call (gettid)", figures("gettid")),
        row("floor: a call's share of a page of the file", share),
    ];
    Ok((rows, floor))
}

fn hook_rows(threads: usize, pairs: &Pairs, floor: f64) -> Vec<Row> {
    let by = if threads == 1 { "1 thread" } else { "2 threads" };
    let traced = differences(&pairs.traced_adds, &pairs.untraced_adds);
    let over_floor = traced.iter().map(|ns| ns / floor).collect();
    vec![
        Row::new(SUITE, format!("hook alone, untraced, {by}"), "stub called directly")
            .measured("ns", pairs.untraced_adds.clone())
            .goal(Goal::AtMost(5.0)),
        Row::new(SUITE, format!("hook alone, traced, {by}"), "the same untraced")
            .measured("ns", traced)
            .goal(Goal::AtMost((floor + OWN_COST).round())),
        Row::new(SUITE, format!("hook alone, traced, {by}"), "the machine's floor")
            .measured("x", over_floor),
        Row::new(SUITE, format!("hook alone, traced, keeping the last, {by}"), "the same untraced")
            .measured("ns", differences(&pairs.lapping_adds, &pairs.untraced_adds)),
    ]
}

/// What the hook adds, one figure a process.
#[derive(Default)]
struct Pairs {
    bare: Vec<f64>,
    untraced_adds: Vec<f64>,
    /// In a large file that is not filled.
    traced_adds: Vec<f64>,
    /// In a small file that keeps the last records, and is overwritten repeatedly.
    lapping_adds: Vec<f64>,
}

/// Measures the setups in turns, each in processes of its own.
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

/// The lowest figure of a process, which the machine's other work disturbed least.
fn lowest(series: &[Series], name: &str) -> f64 {
    named(series, name).iter().copied().fold(f64::INFINITY, f64::min)
}
