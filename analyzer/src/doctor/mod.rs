//! `doctor`: what this kernel can do, what the shim would do and why, whether a program can be reached, and
//! whether the shim really loads. Each answer is a [`Check`], in plain words, with a fix where something is wrong.

mod check;
mod machine;
mod program;
mod report;
mod self_test;
mod shim;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::DoctorOptions;
use crate::run::preload;
use check::Check;

pub use self_test::answer as self_test;

/// Examines the machine, the shim, and the program if one is named.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(options: &DoctorOptions, out: &mut dyn Write) -> Result<ExitCode> {
    let native = self_test::natively();
    let mut checks = machine::look(&native);
    let library = preload::find_library(options.shim.as_deref());
    checks.extend(shim::look(&library, &native));
    if let Some(name) = &options.program {
        checks.extend(program::look(name, library.as_deref().ok()));
    }
    report::write(&checks, options, out)?;
    Ok(ExitCode::from(u8::from(checks.iter().any(Check::is_problem))))
}
