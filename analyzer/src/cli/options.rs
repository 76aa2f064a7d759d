//! Options that several commands share, and those of `run` and `doctor`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::settings::Settings;
use crate::model::Filter;
use crate::symbols::SymbolOptions;

/// The traces to read, and the calls to keep.
#[derive(Args)]
pub struct Traced {
    /// Trace files, or directories of them.
    #[arg(required = true)]
    pub traces: Vec<PathBuf>,
    /// The calls to keep.
    #[command(flatten)]
    pub filter: Filter,
    /// How call sites are named.
    #[command(flatten)]
    pub symbols: SymbolOptions,
}

/// Options of `run`.
#[derive(Args)]
pub struct RunOptions {
    /// What the shim does and records.
    #[command(flatten)]
    pub settings: Settings,
    /// Which calls are emulated and recorded.
    #[arg(long, value_enum, default_value_t)]
    pub reach: Reach,
    /// Keep the temporary directory even when no call was recorded.
    #[arg(long)]
    pub keep: bool,
    /// Run the program even when its calls cannot be recorded.
    #[arg(long)]
    pub best_effort: bool,
    /// The preload library [default: next to this program, or in ../lib].
    #[arg(long, value_name = "FILE", env = mremap_settings::LIBRARY)]
    pub shim: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// Options of `attach`.
#[cfg(target_arch = "x86_64")]
#[derive(Args)]
pub struct AttachOptions {
    /// What the shim does and records. `--libc` and `--programs` have no effect here.
    #[command(flatten)]
    pub settings: Settings,
    /// Which calls are emulated and recorded. With `all` the process stops at every system call,
    /// until Ctrl-C.
    #[arg(long, value_enum, default_value_t)]
    pub reach: Reach,
    /// The preload library [default: beside this program, or in ../lib].
    #[arg(long, value_name = "FILE", env = mremap_settings::LIBRARY)]
    pub shim: Option<PathBuf>,
    /// Process id.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
}

/// Options of `detach`.
#[cfg(target_arch = "x86_64")]
#[derive(Args)]
pub struct DetachOptions {
    /// The preload library [default: beside this program, or in ../lib].
    #[arg(long, value_name = "FILE", env = mremap_settings::LIBRARY)]
    pub shim: Option<PathBuf>,
    /// Process id.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
}

/// Which calls `run` and `attach` reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reach {
    /// Calls that go through libc, by the preload library: nanoseconds a call
    #[default]
    Library,
    /// All calls, of static and Go programs too, by a tracer: microseconds a call
    All,
}

/// Options of `doctor`.
#[derive(Args)]
pub struct DoctorOptions {
    /// A program to check, named as for `run`.
    pub program: Option<OsString>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// The preload library [default: next to this program, or in ../lib].
    #[arg(long, value_name = "FILE", env = mremap_settings::LIBRARY)]
    pub shim: Option<PathBuf>,
}
