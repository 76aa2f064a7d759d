//! Options that several commands share, and those of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::model::Filter;
use crate::model::units::parse_size;
use crate::symbols::SymbolOptions;

/// What to read, and which calls of it.
#[derive(Args)]
pub struct Traced {
    /// Trace files, or directories of them.
    #[arg(required = true)]
    pub traces: Vec<PathBuf>,
    /// Which calls.
    #[command(flatten)]
    pub filter: Filter,
    /// How to name call sites.
    #[command(flatten)]
    pub symbols: SymbolOptions,
}

fn size(text: &str) -> Result<String, String> {
    match parse_size(text)? {
        0 => Err("write a number of bytes, such as 65536, 64K, 4KiB or 1G".to_owned()),
        bytes => Ok(bytes.to_string()),
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
    /// What a full trace keeps: its first calls or the last ones.
    #[arg(long, default_value = "first", value_parser = ["first", "last"])]
    pub trace_keep: String,
    /// Record the calls of mremap that libc makes to itself (realloc) as well: `patch` has its own mremap jump to the
    /// shim, where that is one the shim knows.
    #[arg(long, default_value = "leave", value_parser = ["leave", "patch"])]
    pub libc: String,
    /// Record this many return addresses above each call's own (frame pointers), up to 60.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=60))]
    pub stack: u8,
    /// Leave the program's children out.
    #[arg(long)]
    pub no_children: bool,
    /// Record only programs of these names, separated by commas.
    #[arg(long, value_name = "NAMES")]
    pub programs: Option<String>,
    /// The preload library (else beside this program, or in ../lib).
    #[arg(long, env = "MREMAP_SHIM_LIBRARY")]
    pub shim: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// What to examine.
#[derive(Args)]
pub struct DoctorOptions {
    /// A program, as `run` would be given it.
    pub program: Option<OsString>,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// The preload library (else beside this program, or in ../lib).
    #[arg(long, env = "MREMAP_SHIM_LIBRARY")]
    pub shim: Option<PathBuf>,
}
