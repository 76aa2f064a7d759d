//! One call between two marks, for `stepping`: the same call was made before, so that nothing is done for
//! the first time.

use anyhow::{Result, bail};
use clap::Parser;
use mremap_benches::kernel::Way;
use mremap_benches::layout::{Layout, PAGE, Pattern, Shape};
use mremap_benches::stepping;

/// Which call.
#[derive(Debug, Parser)]
struct Options {
    /// `none`: nothing between the marks. `resize`: to the size that is there. `move`: of the layout.
    call: String,
    /// VMAs of the layout.
    #[arg(long, default_value_t = 1)]
    vmas: usize,
    /// Pages between one and the next.
    #[arg(long, default_value_t = 0)]
    gap_pages: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut layout = Layout::new(Shape {
        vmas: options.vmas,
        pages: 2,
        gap_pages: options.gap_pages,
        pattern: Pattern::Alike,
        is_touched: false,
    })?;
    let mut call = || match options.call.as_str() {
        "none" => Ok(()),
        "resize" => {
            Way::Symbol.call(layout.place(), 2 * PAGE, 2 * PAGE, 0, 0);
            Ok(())
        }
        "move" => {
            let (from, to) = layout.turn();
            Way::Symbol.move_range(from, layout.len(), to);
            Ok(())
        }
        other => bail!("{other}: no call; there are none, resize and move"),
    };
    call()?;
    call()?;
    stepping::mark();
    call()?;
    stepping::mark();
    Ok(())
}
