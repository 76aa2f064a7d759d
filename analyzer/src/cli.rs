//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// See what programs do with mremap, and run them with the multi-VMA move of Linux 6.17 on older kernels.
///
/// Exit status: 0 done; 1 `events` found no call that passes its filters; 2 a trace was damaged or unreadable, or
/// the command was wrong, or the program of `run` cannot be reached; else `run` gives its program's own status,
/// 128 and the signal's number when a signal killed it.
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
        /// One JSON object instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Every call, one line each.
    Events {
        /// Trace files, or directories of them.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
        /// JSON lines; addresses are hexadecimal strings.
        #[arg(long)]
        json: bool,
        /// Which calls.
        #[command(flatten)]
        filter: Filter,
    },
    /// Draw one move to scale: parts, gaps, and what lay under them.
    Show {
        /// A trace file, or a directory of them.
        trace: PathBuf,
        /// The event's number, as `events` prints it.
        #[arg(long)]
        event: usize,
        /// Columns to draw in (else the terminal's, 80 when there is none).
        #[arg(long, value_parser = clap::value_parser!(u16).range(40..=1000))]
        width: Option<u16>,
        /// No characters beyond ASCII.
        #[arg(long)]
        ascii: bool,
    },
}

/// Filters on events; all given ones must hold.
#[derive(Args, Default)]
pub struct Filter {
    /// Only calls with which this was done.
    #[arg(long, value_parser = ["passed-through", "native", "one-vma", "emulated", "refused", "begun"])]
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
    /// Only calls whose source or destination holds this address (0x... or decimal).
    #[arg(long, value_parser = address)]
    pub addr: Option<u64>,
}

impl Filter {
    /// Whether any filter is given.
    pub fn is_set(&self) -> bool {
        let ranges = self.tid.is_some() || self.min_len.is_some() || self.addr.is_some();
        ranges || self.outcome.is_some() || self.errno.is_some()
    }
}

fn address(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|error| format!("{error}; write it as 0x7f0000000000 or in decimal"))
}

fn size(text: &str) -> Result<String, String> {
    let digits = text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(text);
    match digits.parse::<u64>() {
        Ok(number) if number > 0 => Ok(text.to_owned()),
        _ => Err("write a number of bytes, with K, M or G behind it if you like".to_owned()),
    }
}

/// How to run a program.
#[derive(Args)]
pub struct RunOptions {
    /// Keep the trace in this directory (else in a temporary one that is named at the end).
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// Keep the temporary directory even when no call was recorded.
    #[arg(long)]
    pub keep: bool,
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
    #[arg(long, default_value = "64M", value_parser = size)]
    pub trace_size: String,
    /// The preload library (else beside this program, or in ../lib).
    #[arg(long, env = "MREMAP_SHIM_LIBRARY")]
    pub shim: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}
