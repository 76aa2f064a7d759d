//! Moves: of one VMA against a bare call, of many against a loop that knows the boundaries and against the
//! kernel's own multi-VMA move.

use anyhow::Result;

use crate::layout::Shape;
use crate::rounds::Series;
use crate::stats::{Summary, named, ratios};
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "moves";
const SOURCES: [&str; 4] = ["auto", "query", "maps", "bisect"];
pub(super) const MANY: usize = 60_000;

/// The rows.
///
/// # Errors
/// A measured program fails: among other things when `vm.max_map_count` is below 65,000.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = single(subject)?;
    for vmas in [2, 17, 1000, 10_000, MANY] {
        for gap_pages in [0, 1] {
            // Seconds a figure: a quick run has them once.
            let is_long = vmas >= 10_000 && subject.is_quick;
            for source in if is_long { &SOURCES[..1] } else { &SOURCES } {
                rows.extend(several(subject, Shape::alike(vmas, gap_pages), source)?);
            }
        }
    }
    for shape in Shape::unlike() {
        for source in SOURCES {
            rows.extend(several(subject, shape, source)?);
        }
    }
    let unknown = Shape::unlike().filter(|shape| shape.vmas == 17);
    for shape in [Shape::alike(17, 0), Shape::alike(17, 1)].into_iter().chain(unknown) {
        for source in ["auto", "bisect"] {
            rows.push(for_the_first_time(subject, shape, source)?);
        }
    }
    for (vmas, gap_pages) in [(17, 0), (17, 1), (1000, 0), (1000, 1)] {
        rows.push(with_a_sibling(subject, Shape::alike(vmas, gap_pages))?);
    }
    for source in ["auto", "query", "bisect"] {
        rows.extend(in_a_large_process(subject, source)?);
    }
    for source in ["auto", "query", "maps", "bisect"] {
        rows.extend(over_a_large_gap(subject, source)?);
    }
    rows.push(growth(subject)?);
    Ok(rows)
}

/// The floors: what finding VMAs costs at least, by each way to find them.
///
/// # Errors
/// A measured program fails.
pub fn floors(subject: &Subject) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (vmas, gap_pages) in [(2, 0), (17, 0), (17, 1), (1000, 0), (1000, 1)] {
        let mut strategies =
            vec!["query", "query-name", "query-ahead", "text", "one-question", "speculate"];
        if gap_pages == 0 {
            strategies.push("growth");
        }
        let ways = format!("libc,inline,{}", strategies.join(","));
        let series = subject.run(
            "bench-moves",
            &arguments(subject, Shape::alike(vmas, gap_pages), &ways),
            &Setup::default(),
        )?;
        for strategy in strategies {
            let figures = ratios(named(&series, strategy), named(&series, "libc"));
            rows.push(
                Row::new(
                    "floors",
                    format!("{}, finding them by {strategy}", Shape::alike(vmas, gap_pages)),
                    LOOP,
                )
                .measured("x", figures),
            );
        }
    }
    Ok(rows)
}

pub(super) const LOOP: &str = "loop that knows them";

fn single(subject: &Subject) -> Result<Vec<Row>> {
    let series = subject.run(
        "bench-moves",
        &arguments(subject, Shape::alike(1, 0), "symbol,libc"),
        &emulating(subject, "auto"),
    )?;
    Ok(vec![
        Row::new(SUITE, "one VMA", "bare call")
            .measured("x", ratios(named(&series, "symbol"), named(&series, "libc")))
            .goal(Goal::AtMost(1.10)),
        Row::new(SUITE, "one VMA, bare", "").measured("ns", named(&series, "libc").to_vec()),
    ])
}

fn several(subject: &Subject, shape: Shape, source: &str) -> Result<Vec<Row>> {
    let arguments = arguments(subject, shape, "symbol,libc,inline,native");
    let series = subject.run("bench-moves", &arguments, &emulating(subject, source))?;
    let what = format!("{shape}, {source}");
    let goal = if shape.vmas == 2 { 1.25 } else { 1.03 };
    let symbol = named(&series, "symbol");
    let mut rows = vec![
        Row::new(SUITE, what.clone(), LOOP)
            .measured("x", ratios(symbol, named(&series, "libc")))
            .goal(Goal::AtMost(goal)),
    ];
    if has_native(&series) {
        let native = named(&series, "native");
        let mut row = Row::new(SUITE, what, "native call").measured("x", ratios(symbol, native));
        if shape.vmas > 2 {
            row = row.goal(Goal::AtMost(1.20));
        }
        rows.push(row);
        if source == "auto" {
            for way in ["libc", "inline"] {
                rows.push(
                    Row::new(SUITE, format!("{shape}, {way} loop"), "native call")
                        .measured("x", ratios(named(&series, way), native)),
                );
            }
        }
    }
    Ok(rows)
}

/// Of a layout that the library knows nothing of, with caches that know as little.
fn for_the_first_time(subject: &Subject, shape: Shape, source: &str) -> Result<Row> {
    let mut arguments = shape.arguments();
    arguments.extend([
        "--ways=symbol,libc".to_owned(),
        "--forget".to_owned(),
        format!("--rounds={}", subject.rounds(101)),
    ]);
    let series = subject.run("bench-moves", &arguments, &emulating(subject, source))?;
    let figures = ratios(named(&series, "symbol"), named(&series, "libc"));
    Ok(Row::new(SUITE, format!("{shape}, {source}, not seen before"), LOOP)
        .measured("x", figures)
        .goal(Goal::AtMost(1.03)))
}

/// In a process of two threads, where no move may be tried before it is known to be right.
fn with_a_sibling(subject: &Subject, shape: Shape) -> Result<Row> {
    let mut arguments = arguments(subject, shape, "symbol,libc");
    arguments.push("--sibling".to_owned());
    let series = subject.run("bench-moves", &arguments, &emulating(subject, "auto"))?;
    let what = format!("{shape}, auto, two threads");
    let figures = ratios(named(&series, "symbol"), named(&series, "libc"));
    Ok(Row::new(SUITE, what, LOOP).measured("x", figures).goal(Goal::AtMost(1.03)))
}

/// Pairs of processes, with 60,000 VMAs more and without. The kernel's own work grows with the tree of VMAs, in the
/// bare loop as in a move: the goal is for what the library adds to the loop, both are shown.
fn in_a_large_process(subject: &Subject, source: &str) -> Result<Vec<Row>> {
    let setup = emulating(subject, source);
    let (mut added, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        let mut small = arguments(subject, Shape::alike(17, 1), "symbol,libc");
        // Pairs are what is repeated here; the last one given counts.
        small.push("--rounds=5".to_owned());
        let mut large = small.clone();
        large.push(format!("--unrelated={MANY}"));
        let (small, large) = (
            subject.run("bench-moves", &small, &setup)?,
            subject.run("bench-moves", &large, &setup)?,
        );
        let median = |series: &[Series], way| Summary::of(named(series, way).to_vec()).median;
        whole.push(median(&large, "symbol") / median(&small, "symbol"));
        bare.push(median(&large, "libc") / median(&small, "libc"));
        let over_loop =
            |series| Summary::of(ratios(named(series, "symbol"), named(series, "libc"))).median;
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

/// What the library adds to the loop over gaps of 1 TiB, against what it adds over gaps of 1 MiB.
fn over_a_large_gap(subject: &Subject, source: &str) -> Result<Vec<Row>> {
    let added = |gap_pages: usize| -> Result<Vec<f64>> {
        let series = subject.run(
            "bench-moves",
            &arguments(subject, Shape::alike(3, gap_pages), "symbol,libc"),
            &emulating(subject, source),
        )?;
        Ok(ratios(named(&series, "symbol"), named(&series, "libc")))
    };
    let (small, large) = (added(1 << 8)?, added(1 << 28)?);
    let mut row =
        Row::new(SUITE, format!("3 VMAs, gaps of 1 TiB, {source}"), "over loop, gaps of 1 MiB")
            .measured("x", ratios(&large, &small));
    if source != "bisect" {
        row = row.goal(Goal::AtMost(1.0 + NOISE));
    }
    Ok(vec![row])
}

/// What two runs of the same thing differ by here.
const NOISE: f64 = 0.03;

/// Cost of a VMA among 60,000 against that of a VMA among 1,000, both over the loop's.
fn growth(subject: &Subject) -> Result<Row> {
    let over_loop = |vmas: usize| -> Result<Vec<f64>> {
        let series = subject.run(
            "bench-moves",
            &arguments(subject, Shape::alike(vmas, 0), "symbol,libc"),
            &emulating(subject, "auto"),
        )?;
        Ok(ratios(named(&series, "symbol"), named(&series, "libc")))
    };
    let (few, many) = (over_loop(1000)?, over_loop(MANY)?);
    Ok(Row::new(SUITE, "growth: over loop, 60,000 VMAs", "over loop, 1,000 VMAs")
        .measured("x", ratios(&many, &few))
        .goal(Goal::AtMost(1.0 + NOISE)))
}

/// The arguments of `bench-moves`. Many VMAs are timed in fewer rounds.
fn arguments(subject: &Subject, shape: Shape, ways: &str) -> Vec<String> {
    let rounds = subject.rounds(if shape.vmas >= 10_000 { 9 } else { 63 });
    let mut arguments = shape.arguments();
    arguments.extend([format!("--ways={ways}"), format!("--rounds={rounds}")]);
    arguments
}

fn emulating(subject: &Subject, source: &str) -> Setup {
    subject.shim().set("MODE", "emulate").set("VMA_SOURCE", source)
}

fn has_native(series: &[Series]) -> bool {
    series.iter().any(|series| series.name == "native")
}
