//! Moves: of one VMA relative to a bare call, of many relative to a loop that knows the boundaries
//! and to the kernel's own multi-VMA move.

use anyhow::Result;

use crate::layout::{Pattern, Shape};
use crate::rounds::Series;
use crate::stats::{Summary, named, ratios};
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "moves";
const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];
pub(super) const MANY: usize = 60_000;
pub(super) const LOOP: &str = "loop that knows them";

/// The rows.
///
/// # Errors
/// A measuring program fails, for example because `vm.max_map_count` is below 65,000.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = single(subject)?;
    for vmas in [2, 17, 1000, 10_000, MANY] {
        for gap_pages in [0, 1] {
            // A figure takes seconds, so a quick run has only one source.
            let is_long = vmas >= 10_000 && subject.is_quick;
            for source in if is_long { &SOURCES[..1] } else { &SOURCES } {
                rows.extend(several(subject, Shape::equal(vmas, gap_pages), source)?);
            }
        }
    }
    for shape in Shape::irregular() {
        for source in SOURCES {
            rows.extend(several(subject, shape, source)?);
        }
    }
    for source in ["auto", "query", "bisect"] {
        rows.extend(in_a_large_process(subject, source)?);
    }
    for source in SOURCES {
        rows.push(over_a_large_gap(subject, source)?);
    }
    rows.push(growth(subject)?);
    Ok(rows)
}

/// The floors: the least that each method to find VMAs costs.
pub fn floors(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (vmas, gap_pages) in [(2, 0), (17, 0), (17, 1), (1000, 0), (1000, 1)] {
        let mut methods = vec!["query", "query-name", "query-batch", "maps"];
        if gap_pages == 0 {
            methods.push("probe");
        }
        let shape = Shape::equal(vmas, gap_pages);
        let variants = format!("libc,inline,{}", methods.join(","));
        let arguments = arguments(subject, shape, &variants);
        let series = subject.run("bench-moves", &arguments, &Setup::default())?;
        for method in methods {
            let figures = ratios(named(&series, method), named(&series, "libc"));
            let what = format!("{shape}, found by {method}");
            rows.push(Row::new("floors", what, LOOP).measured("x", figures));
        }
    }
    Ok(rows)
}

fn single(subject: &Subject) -> Result<Vec<Row>> {
    let series = run(subject, Shape::equal(1, 0), "symbol,libc", "auto")?;
    Ok(vec![
        Row::new(SUITE, "one VMA", "bare call")
            .measured("x", over_loop(&series))
            .goal(Goal::AtMost(1.10)),
        Row::new(SUITE, "one VMA, bare", "").measured("ns", named(&series, "libc").to_vec()),
    ])
}

/// Irregular VMAs cost more to find. Fewer than 17 do not repay what a move costs once.
fn goal(shape: Shape, source: &str) -> Goal {
    match (shape.pattern, source) {
        (Pattern::Equal, "auto") if shape.vmas == 2 => Goal::AtMost(1.25),
        (Pattern::Equal, "auto") => Goal::AtMost(1.15),
        (_, "auto") => Goal::AtMost(1.30),
        (_, "bisect") if shape.pattern != Pattern::Equal => Goal::AtMost(1.50),
        _ => Goal::None,
    }
}

fn several(subject: &Subject, shape: Shape, source: &str) -> Result<Vec<Row>> {
    let series = run(subject, shape, "symbol,libc,inline,native", source)?;
    let what = format!("{shape}, {source}");
    let mut rows = vec![
        Row::new(SUITE, what.clone(), LOOP)
            .measured("x", over_loop(&series))
            .goal(goal(shape, source)),
    ];
    if series.iter().any(|series| series.name == "native") {
        let native = named(&series, "native");
        let figures = ratios(named(&series, "symbol"), native);
        rows.push(Row::new(SUITE, what, "native call").measured("x", figures));
        if source == "auto" {
            for variant in ["libc", "inline"] {
                let figures = ratios(named(&series, variant), native);
                let what = format!("{shape}, {variant} loop");
                rows.push(Row::new(SUITE, what, "native call").measured("x", figures));
            }
        }
    }
    Ok(rows)
}

/// Pairs of processes, with 60,000 unrelated VMAs and without. The kernel's own work grows with the
/// number of VMAs, so the goal is for the library's cost relative to the loop.
fn in_a_large_process(subject: &Subject, source: &str) -> Result<Vec<Row>> {
    let (mut added, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        let run = |unrelated: usize| {
            let mut arguments = arguments(subject, Shape::equal(17, 1), "symbol,libc");
            // The last value of an option counts.
            arguments.extend(["--rounds=5".to_owned(), format!("--unrelated={unrelated}")]);
            subject.run("bench-moves", &arguments, &emulating(subject, source))
        };
        let (small, large) = (run(0)?, run(MANY)?);
        let median =
            |series: &[Series], variant| Summary::of(named(series, variant).to_vec()).median;
        whole.push(median(&large, "symbol") / median(&small, "symbol"));
        bare.push(median(&large, "libc") / median(&small, "libc"));
        let over_loop = |series: &[Series]| Summary::of(over_loop(series)).median;
        added.push(over_loop(&large) / over_loop(&small));
    }
    let what = format!("17 VMAs, gaps, {source}, {MANY} other VMAs");
    let mut rows = vec![
        Row::new(SUITE, format!("over loop: {what}"), "over loop, without them")
            .measured("x", added)
            .goal(Goal::AtMost(1.10)),
        Row::new(SUITE, what, "without the others").measured("x", whole),
    ];
    if source == "auto" {
        let what = format!("17 VMAs, gaps, bare loop, {MANY} other VMAs");
        rows.push(Row::new(SUITE, what, "without the others").measured("x", bare));
    }
    Ok(rows)
}

/// The library's cost relative to the loop with gaps of 1 TiB, relative to that with gaps of 1 MiB.
fn over_a_large_gap(subject: &Subject, source: &str) -> Result<Row> {
    let added = |gap_pages| -> Result<Vec<f64>> {
        Ok(over_loop(&run(subject, Shape::equal(3, gap_pages), "symbol,libc", source)?))
    };
    let (small, large) = (added(1 << 8)?, added(1 << 28)?);
    let what = format!("3 VMAs, gaps of 1 TiB, {source}");
    let row =
        Row::new(SUITE, what, "over loop, gaps of 1 MiB").measured("x", ratios(&large, &small));
    Ok(if source == "bisect" { row } else { row.goal(Goal::AtMost(1.0 + NOISE)) })
}

/// The difference between two runs of the same program.
const NOISE: f64 = 0.03;

/// The cost of a VMA among 60,000 relative to that of a VMA among 1,000, both relative to the loop.
fn growth(subject: &Subject) -> Result<Row> {
    let over_loop = |vmas| -> Result<Vec<f64>> {
        Ok(over_loop(&run(subject, Shape::equal(vmas, 0), "symbol,libc", "auto")?))
    };
    let (few, many) = (over_loop(1000)?, over_loop(MANY)?);
    Ok(Row::new(SUITE, "growth: over loop, 60,000 VMAs", "over loop, 1,000 VMAs")
        .measured("x", ratios(&many, &few))
        .goal(Goal::AtMost(1.0 + NOISE)))
}

fn over_loop(series: &[Series]) -> Vec<f64> {
    ratios(named(series, "symbol"), named(series, "libc"))
}

fn run(subject: &Subject, shape: Shape, variants: &str, source: &str) -> Result<Vec<Series>> {
    let arguments = arguments(subject, shape, variants);
    subject.run("bench-moves", &arguments, &emulating(subject, source))
}

/// The arguments of `bench-moves`. Many VMAs are timed in fewer rounds.
fn arguments(subject: &Subject, shape: Shape, variants: &str) -> Vec<String> {
    let rounds = subject.rounds(if shape.vmas >= 10_000 { 9 } else { 63 });
    let mut arguments = shape.arguments();
    arguments.extend([format!("--variants={variants}"), format!("--rounds={rounds}")]);
    arguments
}

fn emulating(subject: &Subject, source: &str) -> Setup {
    subject.shim().set("MODE", "emulate").set("VMA_SOURCE", source)
}
