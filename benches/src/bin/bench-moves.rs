//! Moves VMAs back and forth by every way in turn and prints what one move costs by each, in ns of this
//! thread's CPU time. Run it under the preload library: `symbol` is what the library makes of the call,
//! the loops go past it.

use std::cell::RefCell;

use anyhow::{Context as _, Result};
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::kernel::Way;
use mremap_benches::layout::{self, Layout, Pattern, Shape};
use mremap_benches::rounds::{self, Variant};
use mremap_benches::strategies::Strategy;

/// Which layout, how often, by which ways.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Options {
    /// VMAs to move.
    #[arg(long, default_value_t = 17)]
    vmas: usize,
    /// Pages of each.
    #[arg(long, default_value_t = 2)]
    pages: usize,
    /// Pages between one and the next.
    #[arg(long, default_value_t = 0)]
    gap_pages: usize,
    /// What differs from one VMA to the next.
    #[arg(long, value_enum, default_value = "alike")]
    pattern: Pattern,
    /// VMAs of the process that no move concerns.
    #[arg(long, default_value_t = 0)]
    unrelated: usize,
    /// Before each figure, have the library move a thousand VMAs that lie otherwise, so that it can remember nothing;
    /// a figure is one move then.
    #[arg(long)]
    forget: bool,
    /// Have a second thread, which sleeps.
    #[arg(long)]
    sibling: bool,
    /// Leave the pages untouched.
    #[arg(long)]
    untouched: bool,
    /// Rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Shortest time of one figure, in µs.
    #[arg(long, default_value_t = 2000)]
    sample_us: u64,
    /// A figure is the quickest of so many samples: for a machine whose time others take, unseen.
    #[arg(long, default_value_t = 1)]
    quickest: usize,
    /// `symbol`: one call, by symbol. `native`: one call, the bare system call (Linux 6.17). `libc`, `inline`:
    /// a loop that knows the boundaries, through libc's function or by bare system calls. `query`, `query-name`,
    /// `query-ahead`, `text`, `growth`, `one-question`, `speculate`: a loop that finds them, see `strategies`.
    #[arg(long, value_delimiter = ',', default_value = "symbol,libc,inline")]
    ways: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    layout::map_unrelated(options.unrelated)?;
    if options.sibling {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    let layout = RefCell::new(Layout::new(Shape {
        vmas: options.vmas,
        pages: options.pages,
        gap_pages: options.gap_pages,
        pattern: options.pattern,
        is_touched: !options.untouched,
    })?);
    let other = if options.forget {
        let shape = Shape {
            vmas: MANY_OTHERS,
            pages: 9,
            gap_pages: 9,
            pattern: Pattern::Varied,
            is_touched: false,
        };
        Some(Layout::beside(1 << 40, shape)?)
    } else {
        None
    };
    let other = RefCell::new(other);
    let (sample_ns, quickest) = (options.sample_us * 1000, options.quickest);
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for name in &options.ways {
        let (layout, other) = (&layout, &other);
        if name == "native" && !kernel_moves_whole(&mut layout.borrow_mut()) {
            continue;
        }
        let how = How::from_name(name)?;
        variants.push((
            name.clone(),
            Box::new(move || {
                let samples = (0..quickest).map(|_| match &mut *other.borrow_mut() {
                    Some(other) => measure_one(&mut layout.borrow_mut(), how, other),
                    None => measure(&mut layout.borrow_mut(), how, sample_ns),
                });
                samples.fold(f64::INFINITY, f64::min)
            }),
        ));
    }
    let series = rounds::run(options.rounds, &mut variants);
    layout.borrow().check()?;
    rounds::print(&series);
    Ok(())
}

/// More VMAs than the library remembers.
const MANY_OTHERS: usize = 1100;

/// How the whole layout is moved.
#[derive(Clone, Copy)]
enum How {
    /// In one call.
    Whole(Way),
    /// In a loop that knows the boundaries.
    Parts(Way),
    /// In a loop that finds them.
    Finding(Strategy),
}

impl How {
    fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "symbol" => Self::Whole(Way::Symbol),
            "native" => Self::Whole(Way::Inline),
            "libc" => Self::Parts(Way::libc()),
            "inline" => Self::Parts(Way::Inline),
            _ => Self::Finding(
                Strategy::from_name(name).with_context(|| format!("{name}: no way to move"))?,
            ),
        })
    }

    fn move_all(self, layout: &mut Layout) {
        let (from, to) = layout.turn();
        match self {
            Self::Whole(way) => way.move_range(from, layout.len(), to),
            Self::Parts(way) => {
                for &(offset, len) in layout.parts() {
                    way.move_range(from + offset, len, to + offset);
                }
            }
            Self::Finding(strategy) => strategy.move_range(from, layout.len(), to),
        }
    }
}

/// Whether this kernel moves the layout in one call; if so, it has been moved. A kernel that refuses has
/// unmapped the other place before, where nothing is.
fn kernel_moves_whole(layout: &mut Layout) -> bool {
    let (from, to) = layout.turn();
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let is_moved = Way::Inline.call(from, layout.len(), layout.len(), flags, to) == to as isize;
    if !is_moved {
        layout.turn();
    }
    is_moved
}

/// ns for one move of the whole layout, right after one of the other.
fn measure_one(layout: &mut Layout, how: How, other: &mut Layout) -> f64 {
    How::Whole(Way::Symbol).move_all(other);
    let start = clock::thread_cpu_ns();
    how.move_all(layout);
    (clock::thread_cpu_ns() - start) as f64
}

/// ns for one move of the whole layout: there and back until the sample is long enough.
fn measure(layout: &mut Layout, how: How, sample_ns: u64) -> f64 {
    // Reading the clock is a system call: not after every move of a few VMAs.
    let turns = (64 / layout.vmas()).max(1) * 2;
    let mut moves = 0;
    let start = clock::thread_cpu_ns();
    loop {
        for _ in 0..turns {
            how.move_all(layout);
        }
        moves += turns;
        let spent = clock::thread_cpu_ns() - start;
        if spent >= sample_ns {
            return spent as f64 / moves as f64;
        }
    }
}
