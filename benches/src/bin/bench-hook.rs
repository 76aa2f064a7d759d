//! One call between two marks, for `stepping`. The call was made twice before, so that nothing is
//! set up.

use anyhow::{Result, bail};
use clap::Parser;
use mremap_benches::kernel::Call;
use mremap_benches::layout::{Layout, PAGE, Pattern, Shape};
use mremap_benches::stepping;

/// Which call.
#[derive(Debug, Parser)]
struct Options {
    /// `none`: nothing between the marks. `resize`: a no-op resize. `move`: a move of the layout.
    call: String,
    /// Number of VMAs.
    #[arg(long, default_value_t = 1)]
    vmas: usize,
    /// Pages of a gap.
    #[arg(long, default_value_t = 0)]
    gap_pages: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut layout = Layout::new(Shape {
        vmas: options.vmas,
        pages: 2,
        gap_pages: options.gap_pages,
        pattern: Pattern::Equal,
        is_touched: false,
    })?;
    let mut call = || match options.call.as_str() {
        "none" => Ok(()),
        "resize" => {
            Call::Symbol.call(layout.start(), 2 * PAGE, 2 * PAGE, 0, 0);
            Ok(())
        }
        "move" => {
            let (from, to) = layout.turn();
            Call::Symbol.move_range(from, layout.len(), to);
            Ok(())
        }
        other => bail!("{other}: not a call; expected none, resize or move"),
    };
    call()?;
    call()?;
    stepping::mark();
    call()?;
    stepping::mark();
    Ok(())
}
