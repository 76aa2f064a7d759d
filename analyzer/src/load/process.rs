//! The process of a trace file, and its clock.

use std::path::PathBuf;

use mremap_trace::layout::SLOT_SIZE;
use mremap_trace::{Call, ChunkHeader, Header, HeaderText, Record, Slot};

use super::calls::words;
use super::clock::Clock;
use super::damage::Log;
use super::notes::{NamedModule, Notes};
use super::pack::InPack;
use super::source::Source;
use crate::model::units::printable;

/// An address of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeAddress {
    /// The address.
    pub address: u64,
    /// Number of the module record that says what was there, from 1; 0 where the address alone
    /// says it.
    pub module: u32,
}

/// What a scan finds besides calls.
#[derive(Default)]
pub struct Found {
    /// Modules and messages.
    pub notes: Notes,
    /// Whether a call has a stack.
    pub has_stacks: bool,
    /// Chunks claimed and never begun.
    pub unbegun: u64,
    /// Unfinished records of a running process.
    pub unfinished: u64,
    /// Damage.
    pub damage: Log,
}

/// A trace file and the process image that wrote it.
pub struct Process {
    /// The file.
    pub file: PathBuf,
    /// Its bytes.
    pub source: Source,
    /// Its header.
    pub header: Header,
    /// Executable.
    pub exe: String,
    /// Arguments, joined by spaces.
    pub command_line: String,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub host: String,
    /// Version of the shim.
    pub shim_version: String,
    /// Number of readable chunks.
    pub chunks: u32,
    /// Whether the process still runs; `None` if unknown.
    pub running: Option<bool>,
    /// Why times are unreliable, if they are.
    pub clock_note: Option<String>,
    /// Damage of the header and the length.
    pub damage: Log,
    /// What the last scan found.
    pub found: Found,
    /// Nanoseconds per tick.
    pub ns_per_tick: f64,
    /// The pack that the trace is in.
    pub in_pack: Option<InPack>,
}

/// Joins arguments by spaces.
fn command_line(argv: &[u8]) -> String {
    let arguments = argv.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let joined = arguments.collect::<Vec<_>>().join(" ");
    printable(joined.trim_end())
}

impl Process {
    /// Makes a process of which only the header was read.
    pub fn new(file: PathBuf, source: Source, header: Header, text: &HeaderText<'_>) -> Self {
        let string = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes));
        Self {
            file,
            source,
            header,
            exe: string(text.exe),
            command_line: command_line(text.argv),
            kernel: string(text.kernel),
            host: string(text.host),
            shim_version: string(text.shim_version),
            chunks: 0,
            running: None,
            clock_note: None,
            damage: Log::default(),
            found: Found::default(),
            ns_per_tick: 1.0,
            in_pack: None,
        }
    }

    /// Converts ticks to nanoseconds.
    #[inline]
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        self.clock().nanoseconds(ticks)
    }

    /// Returns the clock.
    #[inline]
    pub fn clock(&self) -> Clock {
        Clock { ns_per_tick: self.ns_per_tick }
    }

    /// Returns the nanoseconds from the trace's start to a time in ticks.
    #[inline]
    pub fn since_start(&self, ticks: u64) -> u64 {
        self.nanoseconds(ticks.saturating_sub(self.header.ticks))
    }

    /// Returns `CLOCK_MONOTONIC` at a time in ticks, in ns.
    pub fn monotonic(&self, ticks: u64) -> u64 {
        self.header.monotonic_ns.saturating_add(self.since_start(ticks))
    }

    /// Returns the wall clock at a time in ticks, in ns since 1970.
    #[inline]
    pub fn wall_clock(&self, ticks: u64) -> u64 {
        self.header.realtime_ns.saturating_add(self.since_start(ticks))
    }

    /// Whether the process is known to run still.
    pub fn is_alive(&self) -> bool {
        self.running == Some(true)
    }

    /// Returns the modules in the order of their records.
    pub fn modules(&self) -> &[NamedModule] {
        &self.found.notes.modules
    }

    /// Returns the module that held an address at a time in ticks.
    pub fn module_at(&self, address: u64, ticks: u64) -> Option<&NamedModule> {
        self.module_of(self.code_at(address, ticks))
    }

    /// Returns the module of an address of code: the last recorded, if nothing says which.
    pub fn module_of(&self, code: CodeAddress) -> Option<&NamedModule> {
        let modules = self.modules();
        let by_number = (code.module as usize).checked_sub(1).and_then(|at| modules.get(at));
        by_number.or_else(|| modules.iter().rev().find(|named| named.holds(code.address)))
    }

    /// Returns an address of code together with the module that held it at a time in ticks.
    pub fn code_at(&self, address: u64, ticks: u64) -> CodeAddress {
        let notes = &self.found.notes;
        if !notes.is_reused(address) {
            return CodeAddress { address, module: 0 };
        }
        let elapsed = ticks.saturating_sub(self.header.ticks);
        let holding = notes.modules.iter().zip(1..).filter(|(named, _)| named.holds(address));
        // The latest of the earlier ones, or else the earliest.
        let later = holding.max_by_key(|(named, number)| match named.module.since {
            since if since <= elapsed => (true, since, *number),
            since => (false, u64::MAX - since, *number),
        });
        CodeAddress { address, module: later.map_or(0, |(_, number)| number) }
    }

    /// Returns an address with each of the modules that held it.
    pub fn codes_at(&self, address: u64) -> Vec<CodeAddress> {
        if !self.found.notes.is_reused(address) {
            return vec![CodeAddress { address, module: 0 }];
        }
        let holding = self.modules().iter().zip(1..).filter(|(named, _)| named.holds(address));
        holding.map(|(_, module)| CodeAddress { address, module }).collect()
    }

    /// Whether the call site of a call depends on more than its return address: on its stack, or on
    /// its time, because libraries were loaded where others had been.
    pub fn has_sites_by_event(&self) -> bool {
        self.found.has_stacks || self.found.notes.reuses_code()
    }
}

impl Process {
    /// Returns the call in a slot of the chunk at `place`, if there is one and the chunk is not
    /// newer than chunk `number`.
    pub fn call_at(&self, place: u32, index: u32, number: u32) -> Option<Call> {
        let bytes = self.source.chunk(place);
        let is_old = ChunkHeader::decode(&bytes).is_some_and(|chunk| chunk.number <= number);
        let slot = bytes.as_chunks::<SLOT_SIZE>().0.get(index as usize)?;
        match Record::decode(words(slot)) {
            Slot::Complete(Record::Call(call)) if is_old && place < self.chunks => Some(call),
            _ => None,
        }
    }
}
