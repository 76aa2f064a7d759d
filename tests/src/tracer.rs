//! Runs a program under the tracer of `mremap-analyzer run --reach all`.

use std::path::Path;
use std::process::Command;

use crate::artifacts::Artifacts;

/// `mremap-analyzer run --reach all --mode emulate OPTIONS -- PROGRAM ARGUMENTS`.
pub fn emulated(options: &[&str], program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(Artifacts::get().analyzer());
    command.args(["run", "--reach", "all", "--mode", "emulate"]).args(options).arg("--");
    command.arg(program).args(arguments).env_remove("LD_PRELOAD");
    command
}
