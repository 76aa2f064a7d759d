//! The command line. Help, man pages and completions come from this one definition.

mod examples;
mod options;
mod settings;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::export::{Format, Weight};
use crate::model::Filter;
use crate::model::units::{parse_percent, parse_time};
use crate::report::Sort;
use crate::symbols::SymbolOptions;
#[cfg(target_arch = "x86_64")]
pub use options::{AttachOptions, DetachOptions};
pub use options::{DoctorOptions, Reach, RunOptions, Traced};
pub use settings::Settings;

/// See what programs do with mremap, and give them the multi-VMA move of Linux 6.17 on older
/// kernels.
///
/// Exit status: 0 success. 1 `events` found no call that passes its filters, `check` reports
/// findings, `diff` a difference, `doctor` a problem. 2 a trace was damaged or unreadable, the
/// command was wrong, or `check` cannot say. `run` exits with the status of its program; see `run
/// --help`.
#[derive(Parser)]
#[command(name = "mremap-analyzer", version, after_help = examples::ALL, max_term_width = 120)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Log more to stderr; repeat for still more. `RUST_LOG` selects in detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to print colors.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: clap::ColorChoice,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a program under the shim and record its calls.
    #[command(after_help = examples::RUN)]
    Run(RunOptions),
    /// Record the calls of a process that runs already, and emulate its moves.
    #[cfg(target_arch = "x86_64")]
    #[command(after_help = examples::ATTACH)]
    Attach(AttachOptions),
    /// End what `attach` began. The process goes on as before.
    #[cfg(target_arch = "x86_64")]
    #[command(after_help = examples::DETACH)]
    Detach(DetachOptions),
    /// Check this kernel, the shim, and whether the shim can reach a program.
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorOptions),
    /// Summarize calls: outcomes, latencies, moves, failures, call sites, growth chains.
    #[command(after_help = examples::REPORT)]
    Report {
        #[command(flatten)]
        traced: Traced,
        /// Print one JSON object instead of tables.
        #[arg(long)]
        json: bool,
        /// Rows of each table.
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        /// Order of call sites.
        #[arg(long, value_enum, default_value_t)]
        sort: Sort,
    },
    /// List every call, one line each.
    #[command(after_help = examples::EVENTS)]
    Events {
        #[command(flatten)]
        traced: Traced,
        /// Print JSON lines; addresses are hexadecimal strings.
        #[arg(long)]
        json: bool,
        /// Keep printing while traced processes run.
        #[arg(long, short)]
        follow: bool,
    },
    /// Draw one move to scale: parts, gaps, what was under them, what was split.
    #[command(after_help = examples::SHOW)]
    Show {
        /// Trace files, or directories of them: the same as for `events`, which numbers the calls.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
        /// The number of the event, as `events` prints it.
        #[arg(long)]
        event: u64,
        /// Columns of the drawing [default: those of the terminal, else 80].
        #[arg(long, value_parser = clap::value_parser!(u16).range(40..=1000))]
        width: Option<u16>,
        /// Use ASCII characters only.
        #[arg(long)]
        ascii: bool,
        /// Draw an SVG picture instead of text.
        #[arg(long)]
        svg: bool,
        #[command(flatten)]
        symbols: SymbolOptions,
    },
    /// Search for bugs and risks, and recompute every emulated call by the rules of Linux 6.17.
    #[command(after_help = examples::CHECK)]
    Check {
        #[command(flatten)]
        traced: Traced,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Instances shown of each finding.
        #[arg(long, value_name = "N", default_value_t = 5)]
        top: usize,
    },
    /// Compare two runs, or two kernels: call sites, counts, latencies, outcomes.
    #[command(after_help = examples::DIFF)]
    Diff {
        /// The earlier run: a trace, or a directory of traces.
        #[arg(value_name = "A", required_unless_present = "a")]
        before: Option<PathBuf>,
        /// The later run.
        #[arg(value_name = "B", required_unless_present = "b")]
        after: Option<PathBuf>,
        /// Several earlier runs.
        #[arg(long, num_args = 1.., requires = "b", conflicts_with = "before", value_name = "TRACES")]
        a: Vec<PathBuf>,
        /// Several later runs.
        #[arg(long, num_args = 1.., requires = "a", conflicts_with = "before", value_name = "TRACES")]
        b: Vec<PathBuf>,
        /// Ignore changes up to this many percent [default: 10; with a single run 25, of latency
        /// 100].
        #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
        tolerance: Option<f64>,
        /// Print both sides' weights for each stack instead, for differential flame graphs.
        #[arg(long, value_name = "WEIGHT", value_enum, num_args = 0..=1, default_missing_value = "time", conflicts_with = "json")]
        folded: Option<Weight>,
        /// Print one JSON object instead of tables.
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
    /// Export events to other tools: JSON lines, CSV, Parquet, Chrome, CTF, folded stacks, pprof.
    #[command(after_help = examples::EXPORT)]
    Export {
        /// The format.
        #[arg(long, value_enum)]
        format: Format,
        /// The output file, or the directory for Parquet and CTF [default: standard output].
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// The weight of folded stacks.
        #[arg(long, value_enum, default_value_t)]
        weight: Weight,
        #[command(flatten)]
        traced: Traced,
    },
    /// Pack traces and the names of their call sites into one file that every command reads.
    #[command(after_help = examples::PACK)]
    Pack {
        /// Trace files, directories of them, or packs.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
        /// The file to write.
        #[arg(long, short)]
        output: PathBuf,
        /// Leave out directories of paths, arguments of programs, and the host's name.
        #[arg(long)]
        redact: bool,
        #[command(flatten)]
        symbols: SymbolOptions,
    },
    /// Write one page with everything: overview, timeline, latencies, call sites, events, pictures.
    #[command(after_help = examples::HTML)]
    Html {
        /// The output file, or - for standard output [default: mremap.html, and its name is
        /// printed].
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
    /// Make three calls of mremap and print their results (run by `doctor`, with and without the
    /// shim).
    #[command(hide = true)]
    SelfTest {
        /// Try other features of the kernel, too.
        #[arg(long)]
        machine: bool,
        /// Make libc call mremap itself, too.
        #[arg(long)]
        realloc: bool,
    },
    /// Print the man page of the program, or of a command.
    #[command(after_help = examples::MAN)]
    Man {
        /// The command [default: the program].
        command: Option<String>,
    },
    /// Print a completion script for a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Traced {
    /// A copy of the filters, for one scan.
    pub fn filter(&self) -> Filter {
        self.filter.clone()
    }
}
