//! Measures forwarded calls, no-op resizes: by symbol, which a preload library interposes, and past
//! every preload library, in turns. In ns of each thread's CPU time for a call.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use anyhow::Result;
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::kernel::Call;
use mremap_benches::layout::{Layout, PAGE, Pattern, Shape};
use mremap_benches::rounds::{self, Variant};

/// Number of calls and threads.
#[derive(Debug, Parser)]
struct Options {
    /// Number of threads that call at the same time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Calls of each thread for one figure.
    #[arg(long, default_value_t = 20_000)]
    calls: usize,
    /// Number of rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Measure wall-clock time: for tools that stop the program.
    #[arg(long)]
    wall: bool,
    /// `direct` calls the `mremap` of this preloaded library instead of libc's.
    #[arg(long)]
    stub: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let direct = match &options.stub {
        Some(library) => Call::of_library(library)?,
        None => Call::libc(),
    };
    // Each thread has a VMA of its own.
    let layout = Layout::new(Shape {
        vmas: options.threads,
        pages: 2,
        gap_pages: 1,
        pattern: Pattern::Equal,
        is_touched: true,
    })?;
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (name, call) in [("symbol", Call::Symbol), ("direct", direct)] {
        let (layout, options) = (&layout, &options);
        variants.push((name.to_owned(), Box::new(move || measure(layout, call, options))));
    }
    let series = rounds::run(options.rounds, &mut variants);
    rounds::print(&series);
    Ok(())
}

/// ns for one call, the mean of the threads.
fn measure(layout: &Layout, call: Call, options: &Options) -> f64 {
    let start = Barrier::new(options.threads);
    let start = &start;
    let now = if options.wall { clock::monotonic_ns } else { clock::thread_cpu_ns };
    let work = move |index: usize| {
        let start_of_vma = layout.start() + index * layout.stride();
        // A thread's first call claims a chunk of the trace.
        call.call(start_of_vma, 2 * PAGE, 2 * PAGE, 0, 0);
        start.wait();
        let before = now();
        for _ in 0..options.calls {
            std::hint::black_box(call.call(start_of_vma, 2 * PAGE, 2 * PAGE, 0, 0));
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
