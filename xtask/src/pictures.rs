//! `cargo xtask pictures`: draws the README's pictures from traces that were recorded on Linux 6.1.
//! The traces are kept next to the pictures: one call with its program, and a pack of a session of
//! several programs, which the HTML page shows.
//!
//! The demo's output on Linux 6.1 and the drawing in the README, and its SVG, are the same on every
//! machine, so CI compares them with the present programs'. The screenshot of the HTML page needs
//! Chromium.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use mremap_tests::artifacts::Artifacts;
use tempfile::TempDir;

use crate::guest::{self, Guest};
use crate::{demo, kernels, repo};

const EXAMPLE: &str = "neighbour_under_gap";
const KERNEL: &str = "6.1";
/// The session's programs: examples, then [`PERL`] and [`SQLITE`].
const SESSION: [&str; 5] =
    ["compacting_heap", "snapshot", "signal_moves", "relocatable_arena", EXAMPLE];
/// Appends to a string, which grows by `realloc`.
const PERL: &str = r#"perl -e '$text .= "y" x 400_000 for 1 .. 80'"#;
/// Joins a table's rows to one text.
const SQLITE: &str = "sqlite3 :memory: \"create table t(a); \
     with recursive c(x) as (select 1 union all select x + 1 from c where x < 40000) \
     insert into t select hex(randomblob(40)) from c; select length(group_concat(a)) from t\"";
/// Where the package puts the examples.
const PROGRAMS: &str = "/usr/lib/mremap-shim";
/// Number of recordings, of which the fastest is kept.
const RUNS: usize = 20;
/// Before the README's recording of the demo, and before its drawing.
const RECORDING: &str = "<!-- cargo xtask pictures: demo -->\n```text\n";
const DRAWING: &str = "<!-- cargo xtask pictures: show -->\n```text\n";
const END: &str = "```\n<!-- end -->";
const BROWSERS: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// What to do with the pictures.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Write nothing; fail if the analyzer draws a picture differently.
    #[arg(long, conflicts_with = "record")]
    check: bool,
    /// Record the trace again first, in a guest.
    #[arg(long)]
    record: bool,
}

impl Options {
    /// The options of CI.
    pub fn for_ci() -> Self {
        Self { check: true, record: false }
    }
}

/// Draws or checks the pictures.
pub fn run(options: &Options) -> Result<ExitCode> {
    let artifacts = Artifacts::prepare()?;
    let folder = repo::root().join("docs/pictures");
    let trace = folder.join("neighbour.mremap");
    let session = folder.join("session.mremapz");
    if options.record {
        record(&artifacts, &trace)?;
        record_session(&artifacts, &session)?;
    }
    let show = |arguments: &[&str]| {
        let mut show = Command::new(artifacts.analyzer());
        show.arg("show").arg(&trace).arg("--debug-path").arg(&folder);
        show.args(["--event", "1"]).args(arguments);
        repo::capture(show.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1").env_remove("COLUMNS"))
    };
    let readme = repo::root().join("README.md");
    let old = fs::read_to_string(&readme).context("README.md: cannot be read")?;
    let text = with_text(&old, DRAWING, &show(&["--width", "80"])?)?;
    let text = with_text(&text, RECORDING, &demo::on_old_kernel(&artifacts, KERNEL)?)?;
    let drawings = [(folder.join("show.svg"), show(&["--svg"])?), (readme, text)];
    for (path, text) in drawings {
        if options.check {
            let is_current = fs::read_to_string(&path).is_ok_and(|it| it == text);
            ensure!(
                is_current,
                "{}: differs from the analyzer's drawing; run cargo xtask pictures",
                path.display()
            );
        } else {
            fs::write(&path, text)?;
        }
    }
    if !options.check {
        let mut html = Command::new(artifacts.analyzer());
        take_screenshot(html.arg("html").arg(&session), &folder.join("page.png"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces the text between two of the README's marks.
fn with_text(readme: &str, mark: &str, text: &str) -> Result<String> {
    let no_mark = || format!("README.md: no mark {mark:?}");
    let begin = readme.find(mark).with_context(no_mark)? + mark.len();
    let end = begin + readme[begin..].find(END).with_context(no_mark)?;
    let lines: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    Ok(format!("{}{lines}{}", &readme[..begin], &readme[end..]))
}

/// Compiles an example to record, without paths of this machine, into `folder`: the trace's call
/// sites are symbolised from it later.
fn compile(example: &str, folder: &Path) -> Result<PathBuf> {
    let program = folder.join(example);
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=gnu11", "-O2", "-g", "-gz", "-pthread"])
        .arg(format!("-ffile-prefix-map={}=/usr/share/doc/mremap-shim", repo::root().display()))
        .arg("-o")
        .arg(&program)
        .arg(format!("examples/{example}.c"));
    repo::run(compiler.current_dir(repo::root()))?;
    Ok(program)
}

/// Records one move on the old kernel. The program has the path that the package gives it.
fn record(artifacts: &Artifacts, trace: &Path) -> Result<()> {
    let recorded = compile(EXAMPLE, trace.parent().unwrap_or(trace))?;
    let program = format!("{PROGRAMS}/{EXAMPLE}");
    let mut guest = Guest::default();
    guest.add(recorded, &program);
    // Repeated, since the emulator translates code at its first run.
    let again = format!("for i in $(seq {RUNS}); do {program} || exit; done");
    let settings = [("MREMAP_SHIM_PROGRAMS", EXAMPLE), ("MREMAP_SHIM_TRACE_SIZE", "64K")];
    let traces = traces_of(guest, artifacts, &again, &settings)?;
    fs::copy(fastest(artifacts, traces.path())?, trace)?;
    Ok(())
}

/// Records the session on the old kernel, into a pack.
fn record_session(artifacts: &Artifacts, pack: &Path) -> Result<()> {
    let programs = tempfile::tempdir()?;
    let mut guest = Guest::default();
    let mut commands = Vec::new();
    for example in SESSION {
        let path = format!("{PROGRAMS}/{example}");
        guest.add(compile(example, programs.path())?, &path);
        commands.push(path);
    }
    for (program, command) in [("perl", PERL), ("sqlite3", SQLITE)] {
        guest.add_program(program)?;
        commands.push(command.to_owned());
    }
    let settings = [
        ("MREMAP_SHIM_LIBC", "patch"),
        ("MREMAP_SHIM_STACK", "16"),
        ("MREMAP_SHIM_TRACE_SIZE", "1M"),
    ];
    let traces = traces_of(guest, artifacts, &commands.join(" && "), &settings)?;
    let mut command = Command::new(artifacts.analyzer());
    command.arg("pack").arg(traces.path()).arg("-o").arg(pack);
    repo::run(command.arg("--debug-path").arg(programs.path()))
}

/// Runs a command in a guest under the library; returns a directory of its traces.
fn traces_of(
    mut guest: Guest,
    artifacts: &Artifacts,
    command: &str,
    settings: &[(&str, &str)],
) -> Result<TempDir> {
    const LIBRARY: &str = "/usr/lib/libmremap_shim.so";
    guest.add(artifacts.shim(), LIBRARY);
    let common = [
        ("LD_PRELOAD", LIBRARY),
        ("MREMAP_SHIM_TRACE", "/tmp"),
        ("MREMAP_SHIM_TRACE_DETAIL", "vmas"),
    ];
    guest.command_with(["sh", "-c", command], &[&common, settings].concat());
    guest.command(["sh", "-c", "tar -cz -C /tmp . | base64"]);
    let outcomes = guest::run(&kernels::get_one(KERNEL)?, &guest)?;
    let [ran, encoded] = &outcomes[..] else { bail!("two commands, two outcomes") };
    ensure!(ran.is_success() && encoded.is_success(), "{}{}", ran.output, encoded.output);
    let scratch = tempfile::tempdir()?;
    fs::write(scratch.path().join("encoded"), &encoded.output)?;
    let unpack = "base64 -d -i encoded | tar -xz";
    repo::capture(Command::new("sh").args(["-c", unpack]).current_dir(scratch.path()))?;
    Ok(scratch)
}

/// Returns the trace with the shortest move. Each trace has one.
fn fastest(artifacts: &Artifacts, traces: &Path) -> Result<PathBuf> {
    let mut timed = Vec::new();
    for trace in repo::files_below(traces)? {
        if trace.extension().is_some_and(|it| it == "mremap") {
            let mut events = Command::new(artifacts.analyzer());
            let line = repo::capture(events.args(["events", "--json"]).arg(&trace))?;
            let event: serde_json::Value =
                serde_json::from_str(line.lines().next().unwrap_or_default())?;
            timed.push((event["duration_ns"].as_u64().context("no duration")?, trace));
        }
    }
    ensure!(timed.len() == RUNS, "{} traces of {RUNS} runs", timed.len());
    let fastest = timed.into_iter().min().context("no trace")?;
    Ok(fastest.1)
}

/// Takes a screenshot of the HTML page in a browser.
fn take_screenshot(html: &mut Command, to: &Path) -> Result<()> {
    let browser = BROWSERS.iter().find_map(|name| repo::which(name));
    let Some(browser) = browser else {
        eprintln!(
            "pictures: {} is unchanged: Chromium is not installed (apt-get install chromium)",
            to.display()
        );
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let page: PathBuf = scratch.path().join("page.html");
    repo::run(html.arg("-o").arg(&page))?;
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .args(["--force-device-scale-factor=1", "--window-size=1280,1640"])
        .arg(format!("--user-data-dir={}", scratch.path().join("profile").display()))
        .arg(format!("--screenshot={}", to.display()))
        .arg(format!("file://{}", page.display()));
    repo::capture(&mut command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_the_drawing() {
        let readme = |drawn: &str| format!("{RECORDING}a\n{END}\n{DRAWING}{drawn}\n{END}\nb\n");
        assert_eq!(with_text(&readme("old"), DRAWING, "new  \n").unwrap(), readme("new"));
        assert!(with_text("nothing", DRAWING, "new").is_err());
    }
}
