//! Runs a program under the preload library and reads its trace.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mremap_trace::{Header, Record, Slot, layout};

use crate::artifacts::Artifacts;

/// A command under the preload library.
pub struct Preload {
    command: Command,
}

impl Preload {
    /// Creates a command without settings.
    pub fn new(program: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.env("LD_PRELOAD", Artifacts::get().shim());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MREMAP_SHIM_") {
                command.env_remove(name);
            }
        }
        Self { command }
    }

    /// Creates a command that runs a fixture.
    pub fn fixture(name: &str) -> Self {
        Self::new(Artifacts::get().fixture(name))
    }

    /// Creates a command that runs a fixture with its moves emulated; `source` is the VMA source.
    pub fn emulated(fixture: &str, arguments: &[&str], source: &str) -> Self {
        Self::fixture(fixture)
            .args(arguments)
            .settings(&[("MODE", "emulate"), ("VMA_SOURCE", source)])
    }

    /// Adds `MREMAP_SHIM_NAME=value`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(format!("MREMAP_SHIM_{name}"), value);
        self
    }

    /// Adds several settings.
    #[must_use]
    pub fn settings(self, settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(self, |run, (name, value)| run.setting(name, value))
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Preloads other libraries, too, before and after ours.
    #[must_use]
    pub fn with_libraries(mut self, before: &[&Path], after: &[&Path]) -> Self {
        let shim = Artifacts::get().shim();
        let list: Vec<String> = before
            .iter()
            .chain([&shim.as_path()])
            .chain(after)
            .map(|library| library.display().to_string())
            .collect();
        self.command.env("LD_PRELOAD", list.join(":"));
        self
    }

    /// The command, for further changes.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it and returns its output.
    pub fn output(mut self) -> Output {
        self.command.output().unwrap_or_else(|error| panic!("{:?}: {error}", self.command))
    }

    /// Runs it with a trace, which must be a single file.
    pub fn traced(self) -> (Output, Trace) {
        let (output, mut traces) = self.traced_with_children();
        assert_eq!(traces.len(), 1, "one process, one trace");
        (output, traces.remove(0))
    }

    /// Runs it with a trace, and returns the traces of all processes.
    pub fn traced_with_children(self) -> (Output, Vec<Trace>) {
        let directory = tempfile::tempdir().expect("a directory for the trace");
        let output = self.setting("TRACE", directory.path()).output();
        let traces = traces_in(directory.path());
        assert!(!traces.is_empty(), "no trace: the library was not loaded: {output:?}");
        (output, traces)
    }
}

/// Runs a program without the library.
pub fn alone(program: impl AsRef<Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).env_remove("LD_PRELOAD");
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The trace files of a directory.
pub fn trace_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the trace's directory is readable");
    entries.map(|entry| entry.expect("a file").path()).collect()
}

/// Reads every trace of a directory. All must be complete.
pub fn traces_in(directory: &Path) -> Vec<Trace> {
    let read = |path: &PathBuf| Trace::read(&read_trace_file(path));
    trace_files(directory).iter().map(read).collect()
}

/// Reads the used part of a trace. The file has its final size from the start, with a hole at its
/// end.
pub fn read_trace_file(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).expect("the trace is readable");
    let mut bytes = Vec::new();
    let read = |file: &mut File, length: usize, bytes: &mut Vec<u8>| {
        file.take(length as u64).read_to_end(bytes).expect("the trace is readable");
    };
    read(&mut file, layout::HEADER_SIZE, &mut bytes);
    let chunks = Header::decode(&bytes).map_or(0, |(header, _)| header.chunks as usize);
    read(&mut file, chunks * layout::CHUNK_SIZE, &mut bytes);
    bytes
}

/// The values of the trace's records of one kind: `records!(trace, Part)`.
#[macro_export]
macro_rules! records {
    ($trace:expr, $kind:ident) => {
        $trace.records.iter().filter_map(|record| match record {
            mremap_trace::Record::$kind(value) => Some(value),
            _ => None,
        })
    };
}

/// The contents of a trace.
pub struct Trace {
    /// Its header.
    pub header: Header,
    /// Its records, thread by thread.
    pub records: Vec<Record>,
}

impl Trace {
    /// Reads a trace without torn records.
    pub fn read(bytes: &[u8]) -> Self {
        let (trace, torn) = Self::read_torn(bytes);
        assert_eq!(torn, 0, "no record is torn");
        trace
    }

    /// Reads the trace of a killed process, and returns the number of torn records, too.
    pub fn read_torn(bytes: &[u8]) -> (Self, usize) {
        let (mut header, _) = Header::decode(bytes).expect("a header");
        let (mut records, mut torn, mut overwritten) = (Vec::new(), 0, 0);
        for chunk in
            bytes[layout::HEADER_SIZE..].chunks(layout::CHUNK_SIZE).take(header.chunks as usize)
        {
            let chunk_header = mremap_trace::ChunkHeader::decode(chunk).expect("a chunk");
            torn += usize::from(chunk_header.tid == 0);
            overwritten += chunk_header.overwritten_calls();
            for (index, slot) in chunk_header.slots(chunk) {
                match slot {
                    Slot::Complete(record) => records.push(record),
                    Slot::Torn => torn += 1,
                    Slot::Unknown(tag) => panic!("slot {index}: tag {tag}"),
                }
            }
        }
        header.lost_overwritten = header.lost_overwritten.max(overwritten);
        (Self { header, records }, torn)
    }

    /// The calls.
    pub fn calls(&self) -> Vec<mremap_trace::Call> {
        records!(self, Call).copied().collect()
    }

    /// Number of recorded and lost calls.
    pub fn calls_and_losses(&self) -> u64 {
        self.calls().len() as u64 + self.header.lost()
    }
}

/// Number of recorded and lost calls of several processes.
pub fn sum_of_calls(traces: &[Trace]) -> u64 {
    traces.iter().map(Trace::calls_and_losses).sum()
}

/// Whether this is a guest with a kernel of this series.
pub fn kernel_is(series: &str) -> bool {
    std::env::var("MREMAP_KERNEL").is_ok_and(|kernel| kernel == series)
}

/// Whether this is a guest, whose processor is emulated and slow.
pub fn is_guest() -> bool {
    std::env::var_os("MREMAP_KERNEL").is_some()
}

/// Whether the running kernel has the multi-VMA move, tested without the library.
pub fn kernel_moves_several_vmas() -> bool {
    alone(Artifacts::get().example("compacting_heap"), &[]).status.success()
}

/// Whether the running kernel has `PROCMAP_QUERY`, new in 6.11.
pub fn kernel_has_procmap_query() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel has a release");
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    (next(), next()) >= (Some(6), Some(11))
}
