//! Recorded traces, mutated at random with a fixed seed, through every command of the analyzer: no
//! command panics, needs much memory or time, or reports damage without file and offset.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;

/// Mutated copies of each trace.
const COPIES: usize = 400;
/// Copies read by one run of a command.
const TOGETHER: usize = 100;
const HEADER: usize = 16 << 10;
const CHUNK: usize = 4 << 10;
/// Offset of the number of chunks in the header.
const CHUNKS_AT: usize = 104;
/// Limit on chunks of a trace.
const MAX_CHUNKS: usize = 24;
/// Address space of one run, in KiB.
const MAX_MEMORY: &str = "2000000";
/// The folder of the programs under test in a guest.
const GUEST: &str = "/artifacts";
/// Time limit of one run, in seconds.
const MAX_TIME: &str = "60";

/// A linear congruential generator: the same numbers in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn word(&mut self) -> u64 {
        let near = self.below(64) as u32;
        match self.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << near,
            3 => (1_u64 << near).wrapping_sub(1),
            _ => self.0,
        }
    }
}

/// Runs a program under the shim and returns its traces, each cut after its last chunk.
fn record(program: &Path, arguments: &[&str], options: &[&str]) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().to_str().expect("text");
    let run = Command::new(Artifacts::get().analyzer())
        .args(["run", "--trace", traces])
        .args(options)
        .arg("--")
        .arg(program)
        .args(arguments)
        .output()
        .expect("the analyzer runs");
    assert!(run.status.success(), "{run:?}");
    let whole = |file: &PathBuf| {
        let mut bytes = fs::read(file).expect("the trace is readable");
        let count = bytes[CHUNKS_AT..CHUNKS_AT + 4].try_into().expect("four bytes");
        let chunks = (u32::from_ne_bytes(count) as usize).min(MAX_CHUNKS);
        bytes.truncate(HEADER + chunks * CHUNK);
        bytes
    };
    let files = fs::read_dir(directory.path()).expect("the directory is readable");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().map(whole).collect()
}

fn real_traces() -> Vec<Vec<u8>> {
    let artifacts = Artifacts::get();
    let mut traces =
        record(&artifacts.example("signal_moves"), &[], &["--mode", "emulate", "--stack", "8"]);
    traces.extend(record(&artifacts.example("snapshot"), &[], &["--detail", "vmas"]));
    traces.extend(record(&artifacts.fixture("busy"), &["3", "50"], &["--trace-keep", "last"]));
    traces
}

/// Changes bytes, words, slots, chunks or the length.
fn change(bytes: &mut Vec<u8>, chance: &mut Chance) {
    if bytes.len() < 64 {
        return;
    }
    // The header is small and matters most: half of all changes are in it.
    let end = if chance.below(2) == 0 { 256.min(bytes.len()) } else { bytes.len() };
    let word = chance.below(end / 8 - 1) * 8;
    match chance.below(8) {
        0 => bytes.truncate(chance.below(bytes.len())),
        1 | 2 => bytes[word + chance.below(8)] ^= 1 << chance.below(8),
        3 => bytes[word + chance.below(8)] = chance.below(256) as u8,
        4 if bytes.len() > HEADER + 2 * CHUNK => {
            let chunks = (bytes.len() - HEADER) / CHUNK;
            let (from, to) = (chance.below(chunks), chance.below(chunks));
            let start = HEADER + from * CHUNK;
            bytes.copy_within(start..start + CHUNK, HEADER + to * CHUNK);
        }
        5 => {
            let slot = chance.below(bytes.len() / 64) * 64;
            bytes[slot..slot + 64].fill(if chance.below(2) == 0 { 0 } else { 0xff });
        }
        _ => {
            let value = chance.word();
            bytes[word..word + 8].copy_from_slice(&value.to_ne_bytes());
        }
    }
}

fn limited(arguments: &[&str]) -> Output {
    let script = format!("ulimit -v {MAX_MEMORY}; exec timeout {MAX_TIME} \"$@\"");
    Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(Artifacts::get().analyzer())
        .args(arguments)
        .output()
        .expect("a shell runs")
}

/// Checks the status, and that damage is reported with file and offset.
fn check(arguments: &[&str], output: &Output) {
    let printed = String::from_utf8_lossy(&output.stderr);
    let status = output.status.code();
    assert!(
        matches!(status, Some(0..=2)) && !printed.contains("panicked"),
        "{arguments:?}: {:?}: {printed}",
        output.status
    );
    for line in printed.lines().filter(|line| line.contains(".mremap: ")) {
        assert!(line.contains(": offset "), "{line}");
    }
}

#[test]
fn no_command_fails_on_mutated_traces() {
    // This does not depend on the kernel, and takes minutes in a guest.
    if std::env::var_os("MREMAP_ARTIFACTS").is_some_and(|place| place == GUEST) {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let (mut chance, mut damaged, mut number) = (Chance(20_260_601), 0, 0);
    for trace in real_traces() {
        for batch in 0..COPIES / TOGETHER {
            let directory = home.path().join(format!("{}-{batch}", trace.len()));
            fs::create_dir_all(&directory).expect("a directory");
            for _ in 0..TOGETHER {
                let mut bytes = trace.clone();
                for _ in 0..=chance.below(6) {
                    change(&mut bytes, &mut chance);
                }
                number += 1;
                fs::write(directory.join(format!("{number}.mremap")), &bytes)
                    .expect("it is written");
            }
            damaged += read_with_every_command(home.path(), &directory, batch);
            fs::remove_dir_all(&directory).expect("it is removed");
        }
    }
    assert!(damaged > number / 4, "only {damaged} of {number} were seen to be damaged");
}

/// Returns the number of files that a report finds damaged.
fn read_with_every_command(home: &Path, directory: &Path, batch: usize) -> usize {
    let traces = directory.to_str().expect("text");
    let target = home.join("out");
    let out = target.to_str().expect("text");
    let number = (batch * 7 + 1).to_string();
    let commands: [&[&str]; 15] = [
        &["report", traces],
        &["report", "--json", "--failed", traces],
        &["events", traces],
        &["events", "--json", "--site", "main", traces],
        &["check", traces],
        &["check", "--json", traces],
        &["diff", traces, traces],
        &["html", "-o", out, traces],
        &["show", traces, "--event", &number],
        &["show", traces, "--event", &number, "--svg"],
        &["export", "--format", "csv", traces],
        &["export", "--format", "chrome", traces],
        &["export", "--format", "folded", traces],
        &["export", "--format", "jsonl", traces],
        &["export", "--format", "pprof", traces],
    ];
    let mut damaged = 0;
    for arguments in commands {
        let output = limited(arguments);
        check(arguments, &output);
        if arguments == ["report", traces] {
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            let files: std::collections::BTreeSet<&str> =
                printed.lines().filter_map(|line| line.split(": offset ").next()).collect();
            damaged = files.len();
        }
    }
    for format in ["parquet", "ctf"] {
        let place = home.join(format).join(format!("{traces}-{batch}").replace('/', "_"));
        let arguments = ["export", "--format", format, "-o", place.to_str().expect("text"), traces];
        check(&arguments, &limited(&arguments));
        let _ = fs::remove_dir_all(home.join(format));
    }
    damaged
}
