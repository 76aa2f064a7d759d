//! What the library adds to the start of a process.

use std::cell::Cell;
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

/// A file system in memory.
const IN_MEMORY: &str = "/dev/shm";

/// The rows.
pub fn rows(subject: &Subject) -> Result<Vec<Row>> {
    let disk = subject.trace_directory()?;
    let memory = tempfile::tempdir_in(IN_MEMORY).context(IN_MEMORY)?;
    let traced_in = |directory: &Path| subject.shim().set("TRACE", directory);
    start(&traced_in(memory.path()))?;
    let mut files = fs::read_dir(memory.path())?;
    ensure!(
        files.next().is_some(),
        "/bin/true under the library left no trace: the library was not loaded"
    );
    let setups = [
        ("bare", Setup::default()),
        ("untraced", subject.shim()),
        ("memory", traced_in(memory.path())),
        ("disk", traced_in(disk.path())),
    ];
    let made = Cell::new(0);
    let make_file = || {
        made.set(made.get() + 1);
        make_file(&disk.path().join(format!("alone.{}", made.get())))
    };
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
            let files = (0..STARTS).map(|_| make_file().unwrap_or(f64::NAN));
            files.fold(f64::INFINITY, f64::min) / 1000.0
        }),
    ));
    let series = rounds::run(subject.rounds(41), &mut variants);
    let bare = named(&series, "bare");
    let row = |what, name| {
        let added = differences(named(&series, name), bare);
        Row::new(SUITE, what, "without the library").measured("µs", added)
    };
    Ok(vec![
        row("/bin/true, untraced", "untraced").goal(Goal::AtMost(100.0)),
        row("/bin/true, traced on tmpfs", "memory").goal(Goal::AtMost(250.0)),
        row("/bin/true, traced on a disk", "disk"),
        Row::new(SUITE, "/bin/true, without the library", "").measured("µs", bare.to_vec()),
        Row::new(SUITE, "a file as that of a trace, on a disk", "")
            .measured("µs", named(&series, "file").to_vec()),
    ])
}

/// ns to make a file as that of a trace: created, given its size, its header and first chunks
/// written, closed. A traced start cannot be quicker, and file systems differ. No file is removed
/// before the end: ext4 looks for an inode that was not in use seconds ago.
fn make_file(path: &Path) -> Result<f64> {
    const SIZE: u64 = 64 << 20;
    const CHUNKS_AT: u64 = 16 << 10;
    static PAGES: [u8; 8 << 10] = [0; 8 << 10];
    let before = clock::monotonic_ns();
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_len(SIZE)?;
    file.write_all_at(&PAGES, CHUNKS_AT)?;
    file.write_all_at(&PAGES, 0)?;
    drop(file);
    let spent = clock::monotonic_ns() - before;
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
