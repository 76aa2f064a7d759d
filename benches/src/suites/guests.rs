//! Moves in a guest with an older kernel: what to run there, and what to make of the figures. The same is run here, on
//! this kernel and processor, so that a guest's figures can be told from those of its emulator.

use anyhow::{Context as _, Result};

use super::moves::{LOOP, MANY};
use crate::layout::Shape;
use crate::rounds::Series;
use crate::stats::{Summary, named, ratios};
use crate::table::{Goal, Row};

const SUITE: &str = "guests";
const ROUNDS: usize = 9;

/// One program and its settings.
#[derive(Clone, Debug)]
pub struct Run {
    /// `bench-moves` or `bench-questions`.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// `MREMAP_SHIM_VMA_SOURCE`.
    pub source: &'static str,
    shape: Shape,
    unrelated: usize,
}

/// All runs, in their order.
pub fn runs() -> Vec<Run> {
    let mut runs = vec![questions()];
    for vmas in [2, 17, 1000] {
        for gap_pages in [0, 1] {
            for source in ["auto", "bisect"] {
                runs.push(moves(source, Shape::alike(vmas, gap_pages), 0));
            }
        }
    }
    for shape in Shape::unlike() {
        for source in ["auto", "bisect", "maps"] {
            runs.push(moves(source, shape, 0));
        }
    }
    runs.push(moves("maps", SEVENTEEN, 0));
    for source in ["auto", "bisect"] {
        runs.push(moves(source, SEVENTEEN, MANY));
    }
    // As many as fit below the limit on mappings, the varied ones included.
    runs.extend(Shape::unlike().last().map(|varied| moves("auto", varied, MANY)));
    runs
}

const SEVENTEEN: Shape = Shape::alike(17, 1);

fn moves(source: &'static str, shape: Shape, unrelated: usize) -> Run {
    let mut arguments = shape.arguments();
    // What takes time from the emulator looks like the guest's own CPU time.
    arguments.extend([
        format!("--unrelated={unrelated}"),
        format!("--rounds={ROUNDS}"),
        format!("--quickest={}", if shape.vmas < 1000 { 10 } else { 1 }),
        "--sample-us=5000".to_owned(),
        "--ways=symbol,libc".to_owned(),
    ]);
    Run { program: "bench-moves", arguments, source, shape, unrelated }
}

fn questions() -> Run {
    Run {
        program: "bench-questions",
        arguments: vec![format!("--rounds={ROUNDS}"), "--questions=500".to_owned()],
        source: "auto",
        shape: Shape::alike(0, 0),
        unrelated: 0,
    }
}

/// The rows of one kernel: what [`runs`] printed, each in its place.
///
/// # Errors
/// Fewer outputs than runs.
pub fn rows(kernel: &str, printed: &[Vec<Series>]) -> Result<Vec<Row>> {
    let runs = runs();
    let figures = |wanted: &Run| {
        let mut each = runs.iter().zip(printed);
        let found =
            each.find(|(run, _)| run.arguments == wanted.arguments && run.source == wanted.source);
        found.map(|(_, series)| series).context("a run without figures")
    };
    let mut rows =
        vec![proportions(kernel, figures(&questions())?, figures(&moves("auto", SEVENTEEN, 0))?)];
    for run in runs.iter().filter(|run| run.shape.vmas != 0) {
        let over_loop = over_loop(figures(run)?);
        let others = if run.unrelated == 0 { String::new() } else { format!(", {MANY} others") };
        let what = format!("{}, {}{others}, Linux {kernel}", run.shape, run.source);
        let mut row = Row::new(SUITE, what.clone(), LOOP).measured("x", over_loop.clone());
        if run.shape.vmas == 17 && run.shape.gap_pages > 0 && run.source != "maps" {
            row = row.goal(Goal::AtMost(1.25));
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

/// How much of a VMA's move a system call takes that does nothing: what an emulator distorts.
fn proportions(kernel: &str, questions: &[Series], moves: &[Series]) -> Row {
    let a_move = Summary::of(named(moves, "libc").to_vec()).median / 17.0;
    let figures = named(questions, "gettid").iter().map(|ns| ns / a_move).collect();
    Row::new(SUITE, format!("gettid, Linux {kernel}"), "a VMA's move in the loop")
        .measured("x", figures)
}
