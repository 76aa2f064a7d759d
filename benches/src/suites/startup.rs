//! What the library adds to the start of a process.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::clock;
use crate::rounds::{self, Variant};
use crate::stats::{differences, named};
use crate::subject::{Setup, Subject};
use crate::table::{Goal, Row};

const SUITE: &str = "startup";
/// Starts for a figure.
const STARTS: usize = 10;

/// The rows.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let directory = subject.trace_directory()?;
    let traced = subject.shim().set("TRACE", directory.path());
    start(&traced)?;
    let mut files = fs::read_dir(directory.path())?;
    ensure!(
        files.next().is_some(),
        "/bin/true under the library left no trace: the library was not loaded"
    );
    let path = directory.path().join("alone");
    let setups = [("bare", Setup::default()), ("untraced", subject.shim()), ("traced", traced)];
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (name, setup) in &setups {
        variants.push((
            (*name).to_owned(),
            Box::new(move || {
                // The fastest, since the machine's other work disturbs starts most.
                let starts = (0..STARTS).map(|_| start(setup).unwrap_or(f64::NAN));
                starts.fold(f64::INFINITY, f64::min) / 1000.0
            }),
        ));
    }
    variants.push((
        "file".to_owned(),
        Box::new(|| {
            let files = (0..STARTS).map(|_| make_file(&path).unwrap_or(f64::NAN));
            files.fold(f64::INFINITY, f64::min) / 1000.0
        }),
    ));
    let series = rounds::run(subject.rounds(41), &mut variants);
    let bare = named(&series, "bare");
    let added = |name| differences(named(&series, name), bare);
    Ok(vec![
        Row::new(SUITE, "/bin/true, untraced", "without the library")
            .measured("µs", added("untraced"))
            .goal(Goal::AtMost(100.0)),
        Row::new(SUITE, "/bin/true, traced", "without the library")
            .measured("µs", added("traced"))
            .goal(Goal::AtMost(250.0)),
        Row::new(SUITE, "/bin/true, without the library", "").measured("µs", bare.to_vec()),
        Row::new(SUITE, "a file as that of a trace, alone", "")
            .measured("µs", named(&series, "file").to_vec()),
    ])
}

/// ns to make a file as that of a trace: created, given its size, its start written, closed. A
/// traced start cannot be quicker, and file systems differ.
fn make_file(path: &Path) -> Result<f64> {
    const SIZE: u64 = 64 << 20;
    static START: [u8; 24 << 10] = [0; 24 << 10];
    let before = clock::monotonic_ns();
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_len(SIZE)?;
    file.write_all_at(&START, 0)?;
    drop(file);
    let spent = clock::monotonic_ns() - before;
    fs::remove_file(path)?;
    Ok(spent as f64)
}

/// ns from the spawn to the exit.
fn start(setup: &Setup) -> Result<f64> {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null());
    setup.apply(&mut command);
    let before = clock::monotonic_ns();
    let status = command.status().context("/bin/true: cannot be run")?;
    let spent = clock::monotonic_ns() - before;
    ensure!(status.success(), "/bin/true: {status}");
    Ok(spent as f64)
}
