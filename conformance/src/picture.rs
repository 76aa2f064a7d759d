//! Draws a case whose outcome differs: each request, its result and the pages around it, as Linux
//! 6.17 leaves them and as this kernel does.

use std::fmt::Write as _;

use mremap_oracle::case::PAGE;
use mremap_oracle::picture::request_text;

use crate::cases::Test;
use crate::run::Outcome;
use crate::state::{State, result_text};

/// Pages drawn in one line.
const WIDTH: usize = 8;
/// Lines drawn of a case.
const MAX_ROWS: usize = 12;
const LEGEND: &str = "A0 page 0 of mapping A, f0 of a file, 0 zeros, x unreadable, - read-only, \
                      . not mapped";

/// The requests up to the first that differs, and what it left. Every line is a TAP comment.
pub fn draw(test: &Test, outcome: &Outcome) -> String {
    let mut text = String::new();
    if test.case.forked {
        text.push_str("#   in a child forked after the layout\n");
    }
    let same = test.expected.iter().zip(&outcome.states).take_while(|(a, b)| a == b).count();
    for (index, request) in test.case.requests.iter().enumerate().take(same) {
        let _ = writeln!(text, "#   request {}: {}", index + 1, request_text(request));
    }
    if outcome.status != 0 {
        let _ = writeln!(text, "#   the child ended with status {:#x}", outcome.status);
    }
    let (Some(expected), Some(got)) = (test.expected.get(same), outcome.states.get(same)) else {
        return text;
    };
    let before = &test.expected[same - 1];
    let result = |state: &State| result_text(state.result);
    let titles = ["", "before", "Linux 6.17", "here"].map(str::to_owned);
    let mut lines = vec![titles, ["returns".into(), String::new(), result(expected), result(got)]];
    let states = [before, expected, got];
    for row in rows(&states).into_iter().take(MAX_ROWS) {
        let [before, expected, got] = states.map(|state| pages(state, &row));
        lines.push([format!("{:#x}", row[0]), before, expected, got]);
    }
    text.push_str(&table(&lines));
    let _ = writeln!(text, "#   ({LEGEND})");
    text
}

/// Aligns the columns.
fn table(lines: &[[String; 4]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), 0];
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        let _ = writeln!(text, "#   {}", line.trim_end());
    }
    text
}

fn pages(state: &State, row: &[u64]) -> String {
    let page =
        |address| state.pages.get(address).map_or_else(|| ".".to_owned(), ToString::to_string);
    row.iter().map(page).collect::<Vec<_>>().join(" ")
}

/// Runs of pages that are mapped in one of the states, cut to the width of a line, without those
/// that nothing happened to.
fn rows(states: &[&State; 3]) -> Vec<Vec<u64>> {
    let mut addresses: Vec<u64> =
        states.iter().flat_map(|state| state.pages.keys().copied()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let runs = addresses.chunk_by(|page, next| page + PAGE == *next);
    let [before, expected, got] = states;
    let rows = runs.flat_map(|run| run.chunks(WIDTH).map(<[u64]>::to_vec));
    let changed = |row: &Vec<u64>| {
        let page = |state: &State, at| state.pages.get(&at).copied();
        let is_changed =
            |at| page(expected, at) != page(got, at) || page(before, at) != page(expected, at);
        row.iter().any(|&at| is_changed(at))
    };
    rows.filter(changed).collect()
}
