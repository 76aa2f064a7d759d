//! `mremap-analyzer`. All of it is in the library, where the fuzz targets find it, too.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    mremap_analyzer::execute(mremap_analyzer::Cli::parse())
}
