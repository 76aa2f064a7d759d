//! Runs other tools with a time limit: a tool that hangs costs only its own row.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use wait_timeout::ChildExt as _;

/// More than any tool needs on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs a program and returns its output, which goes through files, so that it never blocks on a
/// pipe.
///
/// # Errors
/// It cannot be started, exceeds the limit, or fails: with the first line of its stderr.
pub fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let child = command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).spawn();
    let mut child = child.with_context(|| format!("{name}: cannot be run; is it installed?"))?;
    let Some(status) = child.wait_timeout(LIMIT)? else {
        end(&mut child);
        bail!("{name}: not finished after {} s", LIMIT.as_secs());
    };
    let output = Output { status, stdout: content(&mut stdout)?, stderr: content(&mut stderr)? };
    let stderr_text = String::from_utf8_lossy(&output.stderr);
    let first = stderr_text.lines().next().unwrap_or_default();
    ensure!(status.success(), "{name}: {status} {first}");
    Ok(output)
}

fn content(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Kills a child and waits for it.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
