//! The command line. Help, man pages and completions come from this one definition.

mod examples;
mod options;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::export::{Format, Weight};
use crate::model::Filter;
use crate::model::units::{parse_percent, parse_time};
use crate::report::Sort;
use crate::symbols::SymbolOptions;
pub use options::{DoctorOptions, RunOptions, Traced};

/// See what programs do with mremap, and run them with the multi-VMA move of Linux 6.17 on older kernels.
///
/// Exit status: 0 done; 1 `events` found no call that passes its filters, `check` found something, `diff` found a
/// difference, `doctor` a problem; 2 a trace was damaged or unreadable, or the command was wrong, or `check` cannot
/// say. `run` gives its program's own status, 128 and the signal's number when a signal killed it, 127 when there is
/// no such program, 126 when it cannot be run or reached.
#[derive(Parser)]
#[command(name = "mremap-analyzer", version, after_help = examples::ALL, max_term_width = 120)]
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
    #[command(after_help = examples::RUN)]
    Run(RunOptions),
    /// What this kernel can do, what the shim would do, whether it loads, whether a program can be reached.
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorOptions),
    /// What happened: calls by outcome, latencies, moves, failures, call sites, growth chains.
    #[command(after_help = examples::REPORT)]
    Report {
        #[command(flatten)]
        traced: Traced,
        /// One JSON object instead of tables.
        #[arg(long)]
        json: bool,
        /// Rows of each table.
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        /// Order of call sites.
        #[arg(long, value_enum, default_value_t)]
        sort: Sort,
    },
    /// Every call, one line each.
    #[command(after_help = examples::EVENTS)]
    Events {
        #[command(flatten)]
        traced: Traced,
        /// JSON lines; addresses are hexadecimal strings.
        #[arg(long)]
        json: bool,
        /// Go on printing while traced processes run.
        #[arg(long, short)]
        follow: bool,
    },
    /// Draw one move to scale: parts, gaps, what lay under them, what was split.
    #[command(after_help = examples::SHOW)]
    Show {
        /// Trace files, or directories of them: the same as for `events`, which numbers the calls.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
        /// The event's number, as `events` prints it.
        #[arg(long)]
        event: u64,
        /// Columns to draw in (else the terminal's, 80 when there is none).
        #[arg(long, value_parser = clap::value_parser!(u16).range(40..=1000))]
        width: Option<u16>,
        /// No characters beyond ASCII.
        #[arg(long)]
        ascii: bool,
        /// An SVG drawing instead of text.
        #[arg(long)]
        svg: bool,
        #[command(flatten)]
        symbols: SymbolOptions,
    },
    /// Look for trouble, and recompute every emulated call by the rules of Linux 6.17.
    #[command(after_help = examples::CHECK)]
    Check {
        #[command(flatten)]
        traced: Traced,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Pieces of evidence for each finding.
        #[arg(long, value_name = "N", default_value_t = 5)]
        top: usize,
    },
    /// Compare two runs, or two kernels: call sites, counts, latencies, outcomes.
    #[command(after_help = examples::DIFF)]
    Diff {
        /// The former run: a trace, or a directory of traces.
        #[arg(value_name = "A", required_unless_present = "a")]
        before: Option<PathBuf>,
        /// The later run.
        #[arg(value_name = "B", required_unless_present = "b")]
        after: Option<PathBuf>,
        /// Several former runs.
        #[arg(long, num_args = 1.., requires = "b", conflicts_with = "before", value_name = "TRACES")]
        a: Vec<PathBuf>,
        /// Several later runs.
        #[arg(long, num_args = 1.., requires = "a", conflicts_with = "before", value_name = "TRACES")]
        b: Vec<PathBuf>,
        /// Ignore changes up to this many percent [default: 10; with a single run 25, of latency 100].
        #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
        tolerance: Option<f64>,
        /// Print both sides' weights for each stack instead, for differential flame graphs.
        #[arg(long, value_name = "WEIGHT", value_enum, num_args = 0..=1, default_missing_value = "time", conflicts_with = "json")]
        folded: Option<Weight>,
        /// One JSON object instead of tables.
        #[arg(long)]
        json: bool,
        /// Rows of each table.
        #[arg(long, value_name = "N", default_value_t = 20)]
        top: usize,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        symbols: SymbolOptions,
    },
    /// Write events for other programs: JSON lines, CSV, Parquet, Chrome/Perfetto, CTF, folded stacks.
    #[command(after_help = examples::EXPORT)]
    Export {
        /// What to write.
        #[arg(long, value_enum)]
        format: Format,
        /// The file to write, or the directory (Parquet, CTF); else standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// What folded stacks are weighed by.
        #[arg(long, value_enum, default_value_t)]
        weight: Weight,
        #[command(flatten)]
        traced: Traced,
    },
    /// One page with everything: overview, timeline, latencies, call sites, events, pictures.
    #[command(after_help = examples::HTML)]
    Html {
        /// The file to write; else standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
        #[command(flatten)]
        traced: Traced,
    },
    /// Watch running processes: rates, outcomes, call sites, the last move drawn.
    #[command(after_help = examples::TOP)]
    Top {
        #[command(flatten)]
        traced: Traced,
        /// Time between two readings of the rates.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
        interval: u64,
    },
    /// Make three calls of mremap and tell what came of them (`doctor` starts this, with and without the shim).
    #[command(hide = true)]
    SelfTest {
        /// Ask what else the kernel has, too.
        #[arg(long)]
        machine: bool,
        /// Make libc call mremap itself, too.
        #[arg(long)]
        realloc: bool,
    },
    /// Print a man page (of a subcommand, when one is named).
    #[command(hide = true)]
    Man {
        /// The subcommand.
        command: Option<String>,
    },
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Traced {
    /// The filters, ready for a scan.
    pub fn filter(&self) -> Filter {
        self.filter.clone()
    }
}
