//! The report: as text ([`text`]) or as one JSON object ([`json`]).

mod heads;
pub mod json;
mod sections;
pub mod table;
mod text;

use std::io::Write;

use anyhow::Result;
use clap::ValueEnum;

use crate::load::Traces;
use crate::stats::{NamedSite, Overview};
use crate::symbols::{Symbols, is_allocator};

/// Order of call sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Most calls first.
    #[default]
    Calls,
    /// Most time first.
    Time,
    /// Most bytes relocated first.
    Bytes,
    /// Most failures first.
    Failures,
}

/// Options of `report`.
pub struct Options {
    /// One JSON object instead of tables.
    pub json: bool,
    /// Rows of each table.
    pub top: usize,
    /// Order of call sites.
    pub sort: Sort,
}

/// Writes the report.
pub fn write(
    traces: &Traces,
    overview: &Overview,
    symbols: &Symbols,
    options: &Options,
    out: &mut dyn Write,
) -> Result<()> {
    if options.json {
        json::write(traces, overview, symbols, options, out)
    } else {
        text::write(traces, overview, symbols, options, out)
    }
}

/// Returns why names are missing, a sentence each.
pub fn notes(traces: &Traces, overview: &Overview, symbols: &Symbols) -> Vec<String> {
    let has_stacks = traces.processes.iter().any(|process| process.found.has_stacks);
    let mut inner = overview.sites.iter().filter(|named| is_allocator(&named.site));
    let without_caller = inner.next().filter(|_| !has_stacks).map(|named| {
        format!(
            "{}: this call site is in libc or an allocator, as of any realloc; record with --stack 8 to see \
             who called it",
            named.site.name()
        )
    });
    without_caller.into_iter().chain(symbols.notes()).collect()
}

/// Call sites in this order, ties by calls.
pub fn sorted(sites: &[NamedSite], sort: Sort) -> Vec<&NamedSite> {
    let mut sites: Vec<&NamedSite> = sites.iter().collect();
    let key = |site: &NamedSite| match sort {
        Sort::Calls => site.stats.calls(),
        Sort::Time => site.stats.times.sum(),
        Sort::Bytes => site.stats.bytes.relocated(),
        Sort::Failures => site.stats.failed,
    };
    sites.sort_by_key(|site| std::cmp::Reverse((key(site), site.stats.calls())));
    sites
}
