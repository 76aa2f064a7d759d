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
use crate::symbols::Symbols;

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
