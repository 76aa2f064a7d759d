//! Resizes mappings in place, which one and to what drawn at random: calls as a program makes them, for a trace.

use anyhow::{Result, ensure};
use clap::Parser;
use mremap_benches::kernel::Way;
use mremap_benches::layout::{Layout, PAGE, Pattern, Shape};

/// How many calls.
#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 200_000)]
    calls: usize,
}

const MAPPINGS: usize = 64;
/// Pages that each may grow to, with as many behind it.
const MOST_PAGES: usize = 64;

fn main() -> Result<()> {
    let options = Options::parse();
    let layout = Layout::new(Shape {
        vmas: MAPPINGS,
        pages: 1,
        gap_pages: MOST_PAGES,
        pattern: Pattern::Alike,
        is_touched: false,
    })?;
    let mut pages = [1; MAPPINGS];
    let mut random = 1u64;
    for _ in 0..options.calls {
        // Marsaglia's xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (which, wanted) =
            (random as usize % MAPPINGS, 1 + (random >> 32) as usize % MOST_PAGES);
        let place = layout.place() + which * layout.stride();
        let answer = Way::Symbol.call(place, pages[which] * PAGE, wanted * PAGE, 0, 0);
        ensure!(answer == place as isize, "a resize in place was refused");
        pages[which] = wanted;
    }
    Ok(())
}
