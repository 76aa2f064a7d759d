//! `html`: one page that needs no network. Tables and drawings are in the markup, so that it can be
//! read without scripts; a script sorts, filters, pages and zooms.

mod charts;
mod collect;
mod flame;
mod page;
mod summary;
mod tables;

use std::io::Write;

use anyhow::Result;

use crate::load::{Index, Traces};
use crate::model::Filter;
use crate::stats::Overview;
use crate::symbols::Symbols;
use collect::Examples;

/// What the page is made of.
struct Content<'a> {
    traces: &'a Traces,
    overview: &'a Overview,
    symbols: &'a Symbols,
    examples: Examples,
}

/// Writes the page.
pub fn write(
    traces: &Traces,
    index: &Index,
    overview: &Overview,
    filter: &Filter,
    symbols: &Symbols,
    out: &mut dyn Write,
) -> Result<()> {
    let examples = collect::examples(traces, index, filter, symbols)?;
    let mut content = Content { traces, overview, symbols, examples };
    out.write_all(page::render(&mut content).into_string().as_bytes())?;
    Ok(())
}
