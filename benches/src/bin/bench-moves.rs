//! Moves VMAs to and fro by several variants in turns, and prints the cost of one move of each, in
//! ns of this thread's CPU time. Under the preload library, `symbol` calls the library; the loops
//! bypass it.

use std::cell::RefCell;

use anyhow::{Context as _, Result};
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::kernel::Call;
use mremap_benches::layout::{self, Layout, Pattern, Shape};
use mremap_benches::methods::Method;
use mremap_benches::rounds::{self, Variant};

/// The layout, the variants and the number of rounds.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Options {
    /// Number of VMAs.
    #[arg(long, default_value_t = 17)]
    vmas: usize,
    /// Pages of a VMA.
    #[arg(long, default_value_t = 2)]
    pages: usize,
    /// Pages of a gap.
    #[arg(long, default_value_t = 0)]
    gap_pages: usize,
    /// How VMAs differ.
    #[arg(long, value_enum, default_value = "equal")]
    pattern: Pattern,
    /// Number of unrelated VMAs in the process.
    #[arg(long, default_value_t = 0)]
    unrelated: usize,
    /// Leave the pages untouched.
    #[arg(long)]
    untouched: bool,
    /// Number of rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Shortest time of one sample, in µs.
    #[arg(long, default_value_t = 2000)]
    sample_us: u64,
    /// Take the fastest of this number of samples as a figure, for machines with unaccounted stolen
    /// time.
    #[arg(long, default_value_t = 1)]
    fastest_of: usize,
    /// `symbol`: one call by symbol. `native`: one bare system call (Linux 6.17). `libc`, `inline`:
    /// a loop that knows the boundaries, by libc's function or by bare system calls. `query`,
    /// `query-name`, `query-batch`, `maps`, `probe`: a loop that finds the boundaries, see
    /// `methods`.
    #[arg(long, value_delimiter = ',', default_value = "symbol,libc,inline")]
    variants: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    layout::map_unrelated(options.unrelated)?;
    let layout = RefCell::new(Layout::new(Shape {
        vmas: options.vmas,
        pages: options.pages,
        gap_pages: options.gap_pages,
        pattern: options.pattern,
        is_touched: !options.untouched,
    })?);
    let (sample_ns, samples) = (options.sample_us * 1000, options.fastest_of);
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for name in &options.variants {
        let layout = &layout;
        if name == "native" && !kernel_moves_whole(&mut layout.borrow_mut()) {
            continue;
        }
        let how = How::from_name(name)?;
        variants.push((
            name.clone(),
            Box::new(move || {
                let samples =
                    (0..samples).map(|_| measure(&mut layout.borrow_mut(), how, sample_ns));
                samples.fold(f64::INFINITY, f64::min)
            }),
        ));
    }
    let series = rounds::run(options.rounds, &mut variants);
    layout.borrow().check()?;
    rounds::print(&series);
    Ok(())
}

/// How the layout is moved.
#[derive(Clone, Copy)]
enum How {
    /// In one call.
    Whole(Call),
    /// In a loop that knows the boundaries.
    Parts(Call),
    /// In a loop that finds the boundaries.
    Finding(Method),
}

impl How {
    fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "symbol" => Self::Whole(Call::Symbol),
            "native" => Self::Whole(Call::Inline),
            "libc" => Self::Parts(Call::libc()),
            "inline" => Self::Parts(Call::Inline),
            _ => Self::Finding(
                Method::from_name(name).with_context(|| format!("{name}: no such variant"))?,
            ),
        })
    }

    fn move_all(self, layout: &mut Layout) {
        let (from, to) = layout.turn();
        match self {
            Self::Whole(call) => call.move_range(from, layout.len(), to),
            Self::Parts(call) => {
                for &(offset, len) in layout.parts() {
                    call.move_range(from + offset, len, to + offset);
                }
            }
            Self::Finding(method) => method.move_range(from, layout.len(), to),
        }
    }
}

/// Whether this kernel moves the layout in one call; if so, it was moved. A kernel that refuses has
/// unmapped the destination, which is empty.
fn kernel_moves_whole(layout: &mut Layout) -> bool {
    let (from, to) = layout.turn();
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let is_moved = Call::Inline.call(from, layout.len(), layout.len(), flags, to) == to as isize;
    if !is_moved {
        layout.turn();
    }
    is_moved
}

/// ns for one move of the layout, moved to and fro until the sample is long enough.
fn measure(layout: &mut Layout, how: How, sample_ns: u64) -> f64 {
    // Reading the clock is a system call, so not after every short move.
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
