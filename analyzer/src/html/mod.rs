//! One page that holds everything, opens without a network, and is readable without scripts: tables
//! and drawings stand in the markup, a small script sorts and zooms.

mod charts;
mod collect;
mod markup;
mod overview;
mod page;

use std::io::Write;

use anyhow::Result;

use crate::load::{Index, Traces};
use crate::model::Filter;
use crate::stats::Overview;
use crate::symbols::Symbols;

/// Writes the page.
///
/// # Errors
/// It cannot be written.
pub fn write(
    traces: &Traces,
    index: &Index,
    overview: &Overview,
    filter: &Filter,
    symbols: &Symbols,
    out: &mut dyn Write,
) -> Result<()> {
    let examples = collect::examples(traces, index, filter, symbols)?;
    out.write_all(page::render(traces, overview, &examples, symbols).as_bytes())?;
    Ok(())
}
