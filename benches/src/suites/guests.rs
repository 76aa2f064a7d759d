//! Moves in a guest with an older kernel: what to run there, and the rows. The same programs run
//! here, too, to distinguish the kernel's figures from the emulator's.

use anyhow::{Context as _, Result};

use super::moves::{LOOP, MANY};
use crate::layout::Shape;
use crate::rounds::Series;
use crate::stats::{Summary, named, ratios};
use crate::table::{Goal, Row};

const SUITE: &str = "guests";
const ROUNDS: usize = 9;

/// A program and its settings.
#[derive(Clone, Debug)]
pub struct Run {
    /// `bench-moves` or `bench-probes`.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// `MREMAP_SHIM_VMA_SOURCE`.
    pub source: &'static str,
    shape: Shape,
    unrelated: usize,
}

/// All runs, in order.
pub fn runs() -> Vec<Run> {
    let mut runs = vec![probes()];
    for vmas in [2, 17, 1000] {
        for gap_pages in [0, 1] {
            for source in ["auto", "bisect"] {
                runs.push(moves(source, Shape::equal(vmas, gap_pages), 0));
            }
        }
    }
    for shape in Shape::irregular() {
        for source in ["auto", "bisect", "maps"] {
            runs.push(moves(source, shape, 0));
        }
    }
    runs.push(moves("maps", SEVENTEEN, 0));
    for source in ["auto", "bisect"] {
        runs.push(moves(source, SEVENTEEN, MANY));
    }
    // As many unrelated VMAs as the limit on mappings permits.
    runs.extend(Shape::irregular().last().map(|varied| moves("auto", varied, MANY)));
    runs
}

const SEVENTEEN: Shape = Shape::equal(17, 1);

fn moves(source: &'static str, shape: Shape, unrelated: usize) -> Run {
    let mut arguments = shape.arguments();
    // Time stolen from the emulator looks like the guest's own CPU time.
    arguments.extend([
        format!("--unrelated={unrelated}"),
        format!("--rounds={ROUNDS}"),
        format!("--fastest-of={}", if shape.vmas < 1000 { 10 } else { 1 }),
        "--sample-us=5000".to_owned(),
        "--variants=symbol,libc".to_owned(),
    ]);
    Run { program: "bench-moves", arguments, source, shape, unrelated }
}

fn probes() -> Run {
    Run {
        program: "bench-probes",
        arguments: vec![format!("--rounds={ROUNDS}"), "--probes=500".to_owned()],
        source: "auto",
        shape: Shape::equal(0, 0),
        unrelated: 0,
    }
}

/// The rows of one kernel from the outputs of [`runs`], in their order.
pub fn rows(kernel: &str, printed: &[Vec<Series>]) -> Result<Vec<Row>> {
    let runs = runs();
    let figures = |wanted: &Run| {
        let mut each = runs.iter().zip(printed);
        let found =
            each.find(|(run, _)| run.arguments == wanted.arguments && run.source == wanted.source);
        found.map(|(_, series)| series).context("a run without figures")
    };
    let mut rows =
        vec![proportions(kernel, figures(&probes())?, figures(&moves("auto", SEVENTEEN, 0))?)];
    for run in runs.iter().filter(|run| run.shape.vmas != 0) {
        let over_loop = over_loop(figures(run)?);
        let others = if run.unrelated == 0 { String::new() } else { format!(", {MANY} others") };
        let what = format!("{}, {}{others}, Linux {kernel}", run.shape, run.source);
        let mut row = Row::new(SUITE, what.clone(), LOOP).measured("x", over_loop.clone());
        if run.shape.vmas == 17 && run.source == "auto" {
            row = row.goal(Goal::AtMost(1.40));
        }
        rows.push(row);
        if run.unrelated != 0 {
            let without = over_loop_without(figures(&moves(run.source, run.shape, 0))?);
            let figures = over_loop.iter().map(|figure| figure / without).collect();
            let row = Row::new(SUITE, what, "without the others");
            rows.push(row.measured("x", figures).goal(Goal::AtMost(1.10)));
        }
    }
    Ok(rows)
}

fn over_loop(series: &[Series]) -> Vec<f64> {
    ratios(named(series, "symbol"), named(series, "libc"))
}

fn over_loop_without(series: &[Series]) -> f64 {
    Summary::of(over_loop(series)).median
}

/// The cost of a no-op system call relative to a VMA's move, a proportion that an emulator
/// distorts.
fn proportions(kernel: &str, probes: &[Series], moves: &[Series]) -> Row {
    let a_move = Summary::of(named(moves, "libc").to_vec()).median / 17.0;
    let figures = named(probes, "gettid").iter().map(|ns| ns / a_move).collect();
    Row::new(SUITE, format!("gettid, Linux {kernel}"), "a VMA's move in the loop")
        .measured("x", figures)
}
