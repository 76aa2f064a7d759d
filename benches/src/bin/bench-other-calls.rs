//! Measures system calls other than `mremap`, in turns: a tracer that stops at `mremap` alone
//! should leave them alone. In ns of this thread's CPU time for a call.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::rounds::{self, Variant};

/// Bytes of a read.
const PAGE: usize = 4096;

/// How often to measure.
#[derive(Debug, Parser)]
struct Options {
    /// Calls for one figure.
    #[arg(long, default_value_t = 20_000)]
    calls: usize,
    /// Number of rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let path: PathBuf = std::env::current_exe()?;
    let file = File::open(&path)?;
    let mut bytes = [0u8; PAGE];
    let mut no_work = || {
        // SAFETY: no preconditions.
        black_box(unsafe { libc::syscall(libc::SYS_gettid) });
    };
    let mut read = || {
        let _ = black_box(file.read_at(&mut bytes, 0));
    };
    let mut open = || drop(black_box(File::open(&path)));
    let calls = options.calls;
    let mut variants: Vec<Variant<'_>> = vec![
        ("gettid".to_owned(), Box::new(move || each(&mut no_work, calls))),
        ("read of a page".to_owned(), Box::new(move || each(&mut read, calls))),
        ("open and close".to_owned(), Box::new(move || each(&mut open, calls / 2))),
    ];
    rounds::print(&rounds::run(options.rounds, &mut variants));
    Ok(())
}

/// ns for one call, the mean of many.
fn each(call: &mut dyn FnMut(), times: usize) -> f64 {
    let start = clock::thread_cpu_ns();
    for _ in 0..times {
        call();
    }
    (clock::thread_cpu_ns() - start) as f64 / times as f64
}
