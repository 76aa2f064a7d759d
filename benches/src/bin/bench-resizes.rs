//! Resizes random mappings in place to random sizes, for a trace of typical calls.

use anyhow::{Result, ensure};
use clap::Parser;
use mremap_benches::kernel::Call;
use mremap_benches::layout::{Layout, PAGE, Pattern, Shape};

/// Number of calls.
#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 200_000)]
    calls: usize,
}

const MAPPINGS: usize = 64;
/// The largest size in pages; as many pages after each mapping are free.
const MAX_PAGES: usize = 64;

fn main() -> Result<()> {
    let options = Options::parse();
    let layout = Layout::new(Shape {
        vmas: MAPPINGS,
        pages: 1,
        gap_pages: MAX_PAGES,
        pattern: Pattern::Equal,
        is_touched: false,
    })?;
    let mut pages = [1; MAPPINGS];
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..options.calls {
        let (which, wanted) = (random.usize(..MAPPINGS), random.usize(1..=MAX_PAGES));
        let start = layout.start() + which * layout.stride();
        let result = Call::Symbol.call(start, pages[which] * PAGE, wanted * PAGE, 0, 0);
        ensure!(result == start as isize, "a resize in place was refused");
        pages[which] = wanted;
    }
    Ok(())
}
