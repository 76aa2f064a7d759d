//! Runs a program under the preload library, and reads back what it recorded.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mremap_trace::{Header, Record, Slot, layout};

use crate::artifacts::Artifacts;

/// A program to be run under the preload library.
pub struct Preload {
    command: Command,
}

impl Preload {
    /// `program` under the library, with no settings.
    pub fn new(program: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.env("LD_PRELOAD", Artifacts::get().shim());
        for setting in ["MODE", "TRACE", "TRACE_SIZE", "TRACE_DETAIL", "VMA_SOURCE"] {
            command.env_remove(format!("MREMAP_SHIM_{setting}"));
        }
        Self { command }
    }

    /// Adds `MREMAP_SHIM_NAME=value`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(format!("MREMAP_SHIM_{name}"), value);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Runs it to its end.
    pub fn output(mut self) -> Output {
        self.command
            .output()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.command))
    }

    /// Runs it with a trace, and returns the one trace file's records too.
    pub fn traced(self) -> (Output, Trace) {
        let directory = tempfile::tempdir().expect("a directory for the trace");
        let output = self.setting("TRACE", directory.path()).output();
        let mut files = fs::read_dir(directory.path()).expect("the trace's directory is readable");
        let file = files
            .next()
            .unwrap_or_else(|| panic!("no trace: the library was not loaded: {output:?}"));
        assert!(files.next().is_none(), "one process, one trace");
        let bytes = fs::read(file.expect("a file").path()).expect("the trace is readable");
        (output, Trace::read(&bytes))
    }
}

/// A trace, read whole.
pub struct Trace {
    /// Its header.
    pub header: Header,
    /// Its records, thread by thread.
    pub records: Vec<Record>,
}

impl Trace {
    /// Reads a trace that must be whole.
    pub fn read(bytes: &[u8]) -> Self {
        let (header, _) = Header::decode(bytes).expect("a header");
        let mut records = Vec::new();
        for chunk in bytes[layout::HEADER_SIZE..]
            .chunks(layout::CHUNK_SIZE)
            .take(header.chunks as usize)
        {
            let chunk_header = mremap_trace::ChunkHeader::decode(chunk).expect("a chunk");
            assert_ne!(chunk_header.tid, 0, "a claimed chunk was begun");
            for (index, slot) in chunk_header.slots(chunk) {
                match slot {
                    Slot::Complete(record) => records.push(record),
                    other => panic!("slot {index}: {other:?}"),
                }
            }
        }
        Self { header, records }
    }

    /// The calls.
    pub fn calls(&self) -> Vec<mremap_trace::Call> {
        let call = |record: &Record| {
            if let Record::Call(call) = record {
                Some(*call)
            } else {
                None
            }
        };
        self.records.iter().filter_map(call).collect()
    }
}

/// Whether the kernel that runs has the multi-VMA move, asked without the library.
pub fn kernel_moves_several_vmas() -> bool {
    let status = Command::new(Artifacts::get().example("compacting_heap"))
        .env_remove("LD_PRELOAD")
        .output()
        .expect("the example runs");
    status.status.success()
}
