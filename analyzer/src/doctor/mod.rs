//! `doctor` checks what this kernel supports, what the shim would do on it, whether the shim loads,
//! and whether it can reach a program. Each result is a [`Check`], with a fix where there is a
//! problem.

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

pub use self_test::run as self_test;

/// Checks the machine, the shim, and a program if one is named. Returns the exit status.
pub fn run(options: &DoctorOptions, out: &mut dyn Write) -> Result<ExitCode> {
    let native = self_test::natively();
    let mut checks = machine::check(&native);
    let library = preload::find_library(options.shim.as_deref());
    checks.extend(shim::check(&library, &native));
    if let Some(name) = &options.program {
        checks.extend(program::check(name, library.as_deref().ok()));
    }
    report::write(&checks, options, out)?;
    Ok(ExitCode::from(u8::from(checks.iter().any(Check::is_problem))))
}
