//! What a call that is passed through costs: a resize to the size that is there, by symbol (which a preload
//! library interposes) and past every preload library, in turns. In ns for a call, of each thread's CPU time.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use anyhow::Result;
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::kernel::Way;
use mremap_benches::layout::{Layout, PAGE, Pattern, Shape};
use mremap_benches::rounds::{self, Variant};

/// How many calls, by how many threads.
#[derive(Debug, Parser)]
struct Options {
    /// Threads that call at the same time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Calls of each thread for one figure.
    #[arg(long, default_value_t = 20_000)]
    calls: usize,
    /// Rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Wall-clock time instead: for tools that stop the program, and work while it stands.
    #[arg(long)]
    wall: bool,
    /// `direct` is the `mremap` of this preloaded library instead of libc's.
    #[arg(long)]
    stub: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let direct = match &options.stub {
        Some(library) => Way::of_library(library)?,
        None => Way::libc(),
    };
    // A VMA for each thread: they have nothing in common but the address space.
    let layout = Layout::new(Shape {
        vmas: options.threads,
        pages: 2,
        gap_pages: 1,
        pattern: Pattern::Alike,
        is_touched: true,
    })?;
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (name, way) in [("symbol", Way::Symbol), ("direct", direct)] {
        let (layout, options) = (&layout, &options);
        variants.push((name.to_owned(), Box::new(move || measure(layout, way, options))));
    }
    let series = rounds::run(options.rounds, &mut variants);
    rounds::print(&series);
    Ok(())
}

/// ns for one call, the mean over the threads.
fn measure(layout: &Layout, way: Way, options: &Options) -> f64 {
    let start = Barrier::new(options.threads);
    let start = &start;
    let now = if options.wall { clock::monotonic_ns } else { clock::thread_cpu_ns };
    let work = move |index: usize| {
        let place = layout.place() + index * layout.stride();
        // The first call of a thread finds a place for its records; it is not one among many.
        way.call(place, 2 * PAGE, 2 * PAGE, 0, 0);
        start.wait();
        let before = now();
        for _ in 0..options.calls {
            std::hint::black_box(way.call(place, 2 * PAGE, 2 * PAGE, 0, 0));
        }
        (now() - before) as f64 / options.calls as f64
    };
    if options.threads == 1 {
        return work(0);
    }
    let sum: f64 = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..options.threads).map(|index| scope.spawn(move || work(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it measures")).sum()
    });
    sum / options.threads as f64
}
