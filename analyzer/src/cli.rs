//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// See what programs do with mremap, and run them with the multi-VMA move of Linux 6.17 on older kernels.
///
/// Exit status: 0 done; 2 a trace was damaged or unreadable, or the command was wrong; `run` gives its program's own.
#[derive(Parser)]
#[command(name = "mremap-analyzer", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on stderr (twice: more still); `RUST_LOG` says it in detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a program under the shim and record its calls.
    Run(RunOptions),
    /// What happened: calls by outcome, latencies, moves, failures, call sites.
    Report {
        /// Trace files, or directories of them.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
    },
    /// Every call, one line each.
    Events {
        /// Trace files, or directories of them.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
        /// JSON lines; addresses and lengths are numbers.
        #[arg(long)]
        json: bool,
        /// Which calls.
        #[command(flatten)]
        filter: Filter,
    },
    /// Draw one move to scale: parts, gaps, and what lay under them.
    Show {
        /// A trace file.
        trace: PathBuf,
        /// The event's number, as `events` prints it.
        #[arg(long)]
        event: usize,
        /// Columns to draw in.
        #[arg(long, default_value_t = 80)]
        width: usize,
        /// No characters beyond ASCII.
        #[arg(long)]
        ascii: bool,
    },
}

/// Filters on events; all given ones must hold.
#[derive(Args, Default)]
pub struct Filter {
    /// passed-through, native, one-vma, emulated, refused or begun.
    #[arg(long)]
    pub outcome: Option<String>,
    /// Only failed calls with this errno (a name such as EFAULT, or a number).
    #[arg(long)]
    pub errno: Option<String>,
    /// Only this thread.
    #[arg(long)]
    pub tid: Option<u32>,
    /// Only calls of at least this many bytes.
    #[arg(long)]
    pub min_len: Option<u64>,
}

/// How to run a program.
#[derive(Args)]
pub struct RunOptions {
    /// Keep the trace in this directory (else in a temporary one that is named at the end).
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// auto, emulate or passthrough.
    #[arg(long, default_value = "auto", value_parser = ["auto", "emulate", "passthrough"])]
    pub mode: String,
    /// auto, query, maps or bisect.
    #[arg(long, default_value = "auto", value_parser = ["auto", "query", "maps", "bisect"])]
    pub vma_source: String,
    /// calls or vmas.
    #[arg(long, default_value = "calls", value_parser = ["calls", "vmas"])]
    pub detail: String,
    /// Most bytes of a process's trace, with K, M or G.
    #[arg(long, default_value = "64M")]
    pub trace_size: String,
    /// The preload library (else beside this program, or in ../lib).
    #[arg(long, env = "MREMAP_SHIM_LIBRARY")]
    pub shim: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub program: Vec<OsString>,
}
