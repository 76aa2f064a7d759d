//! The header: the process, the machine, the settings, and what was lost.

use crate::layout::{self, header as at};
use crate::numbers::{Capability, Clock, Detail, Keep, Mode, VmaSource};
use crate::text::{put, u32_at, u64_at};

/// Why bytes are not a trace that this build reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Offset of the wrong field in the file, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "offset {}: {}", self.offset, self.what)
    }
}

impl core::error::Error for DecodeError {}

/// The header's text fields. Text longer than its field is cut when it is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderText<'a> {
    /// Version of the shim that wrote the trace.
    pub shim_version: &'a [u8],
    /// Kernel release (`uname -r`).
    pub kernel: &'a [u8],
    /// Host name (`uname -n`).
    pub host: &'a [u8],
    /// Path of the executable.
    pub exe: &'a [u8],
    /// Arguments, each ended by a NUL byte.
    pub argv: &'a [u8],
}

/// The header's numbers. A setting is `None` when its number is unknown to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Page size of the recording machine, in bytes.
    pub page_size: u32,
    /// Size of the whole file, in bytes.
    pub capacity: u64,
    /// The process.
    pub pid: u32,
    /// Its parent when the trace was opened.
    pub parent_pid: u32,
    /// Ticks when the trace was opened.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC` at that moment, in ns.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` at that moment, in ns.
    pub realtime_ns: u64,
    /// What a tick is.
    pub clock: Option<Clock>,
    /// What is recorded of each move.
    pub detail: Option<Detail>,
    /// When moves are emulated.
    pub mode: Option<Mode>,
    /// How VMAs are found.
    pub vma_source: Option<VmaSource>,
    /// Which records are kept when the trace is full.
    pub keep: Option<Keep>,
    /// The process this one was forked from without an exec since; else 0.
    pub forked_from: u32,
    /// Boot id of the machine; zeros if unknown.
    pub boot_id: [u8; 16],
    /// Chunks claimed so far.
    pub chunks: u32,
    /// Whether the kernel has the multi-VMA move.
    pub capability: Option<Capability>,
    /// Calls lost because the trace was full.
    pub lost_full: u64,
    /// Calls lost because they were made before the trace was open.
    pub lost_early: u64,
    /// Calls overwritten by later ones.
    pub lost_overwritten: u64,
    /// Calls lost because the file system had no space.
    pub lost_no_space: u64,
    /// Calls lost because the file was truncated.
    pub lost_truncated: u64,
    /// Calls lost because the mapping could not grow: a limit on address space or locked memory, or
    /// another mapping after it.
    pub lost_no_memory: u64,
    /// Calls lost because their thread's seccomp filter may forbid allocating space.
    pub lost_filtered: u64,
    /// A later reading of ticks and `CLOCK_MONOTONIC`, which gives the length of a tick. `None`
    /// before the first, and while a reading is being stored.
    pub later: Option<(u64, u64)>,
    /// Inode of the process's pid namespace; 0 if unknown.
    pub pid_namespace: u64,
    /// When the process started, in the unit of `/proc/PID/stat`; 0 if unknown.
    pub start_time: u64,
}

/// Written for a setting whose number is unknown, and unknown to every version.
const UNKNOWN: u32 = u32::MAX;

impl Default for Header {
    /// A header whose numbers are 0.
    fn default() -> Self {
        Self::read_numbers(&[])
    }
}

impl Header {
    /// Whether new chunks replace the oldest ones when the trace is full.
    pub fn keeps_last(&self) -> bool {
        self.keep == Some(Keep::Last)
    }

    /// Returns the number of calls that were made and are not in the trace.
    pub fn lost(&self) -> u64 {
        self.lost_full
            .saturating_add(self.lost_early)
            .saturating_add(self.lost_overwritten)
            .saturating_add(self.lost_no_space)
            .saturating_add(self.lost_truncated)
            .saturating_add(self.lost_no_memory)
            .saturating_add(self.lost_filtered)
    }

    /// Returns the number of chunks that the file has room for.
    pub fn positions(&self) -> u64 {
        self.capacity.saturating_sub(layout::HEADER_SIZE as u64) / layout::CHUNK_SIZE as u64
    }

    /// Writes header and text to the first [`layout::HEADER_SIZE`] bytes, and returns the number of
    /// bytes up to the last one written. The magic is written last: a file whose writer died before
    /// is not a trace.
    pub fn encode(&self, text: &HeaderText<'_>, bytes: &mut [u8]) -> usize {
        let mut end = at::SHIM_VERSION.0;
        for (offset, value) in GEOMETRY.into_iter().chain(self.small_numbers()) {
            put(bytes, offset, &value.to_ne_bytes());
        }
        for (offset, value) in self.large_numbers() {
            put(bytes, offset, &value.to_ne_bytes());
        }
        put(bytes, at::BOOT_ID, &self.boot_id);
        for ((offset, room), value) in text.fields() {
            let kept = value.get(..room).unwrap_or(value);
            put(bytes, offset, &(kept.len() as u16).to_ne_bytes());
            put(bytes, offset + 2, kept);
            if !kept.is_empty() {
                end = offset + 2 + kept.len();
            }
        }
        put(bytes, at::MAGIC, &layout::MAGIC);
        end
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The bytes end inside the header, are not a trace, have another version, byte order or sizes,
    /// or a text is longer than its field.
    pub fn decode(bytes: &[u8]) -> Result<(Self, HeaderText<'_>), DecodeError> {
        check(bytes)?;
        Ok((Self::read_numbers(bytes), HeaderText::read(bytes)?))
    }

    fn small_numbers(&self) -> [(usize, u32); 11] {
        [
            (at::PAGE_SIZE, self.page_size),
            (at::PID, self.pid),
            (at::PARENT_PID, self.parent_pid),
            (at::CLOCK, self.clock.map_or(UNKNOWN, |clock| clock as u32)),
            (at::DETAIL, self.detail.map_or(UNKNOWN, |detail| detail as u32)),
            (at::MODE, self.mode.map_or(UNKNOWN, |mode| mode as u32)),
            (at::VMA_SOURCE, self.vma_source.map_or(UNKNOWN, |source| source as u32)),
            (at::KEEP, self.keep.map_or(UNKNOWN, |keep| keep as u32)),
            (at::FORKED_FROM, self.forked_from),
            (at::CHUNKS, self.chunks),
            (at::CAPABILITY, self.capability.map_or(UNKNOWN, |found| found as u32)),
        ]
    }

    fn large_numbers(&self) -> [(usize, u64); 16] {
        let (later_ticks, later_ns) = self.later.unwrap_or_default();
        [
            (at::CAPACITY, self.capacity),
            (at::TICKS, self.ticks),
            (at::MONOTONIC_NS, self.monotonic_ns),
            (at::REALTIME_NS, self.realtime_ns),
            (at::LOST_FULL, self.lost_full),
            (at::LOST_EARLY, self.lost_early),
            (at::LOST_OVERWRITTEN, self.lost_overwritten),
            (at::LOST_NO_SPACE, self.lost_no_space),
            (at::LOST_TRUNCATED, self.lost_truncated),
            (at::LATER_TICKS, later_ticks),
            (at::LATER_MONOTONIC_NS, later_ns),
            (at::LATER_CHECK, later_ticks ^ later_ns),
            (at::PID_NAMESPACE, self.pid_namespace),
            (at::START_TIME, self.start_time),
            (at::LOST_NO_MEMORY, self.lost_no_memory),
            (at::LOST_FILTERED, self.lost_filtered),
        ]
    }

    fn read_numbers(bytes: &[u8]) -> Self {
        let small = |offset| u32_at(bytes, offset).unwrap_or(0);
        let large = |offset| u64_at(bytes, offset).unwrap_or(0);
        let (later_ticks, later_ns) = (large(at::LATER_TICKS), large(at::LATER_MONOTONIC_NS));
        let mut boot_id = [0; 16];
        boot_id.copy_from_slice(bytes.get(at::BOOT_ID..at::BOOT_ID + 16).unwrap_or(&[0; 16]));
        Self {
            page_size: small(at::PAGE_SIZE),
            capacity: large(at::CAPACITY),
            pid: small(at::PID),
            parent_pid: small(at::PARENT_PID),
            ticks: large(at::TICKS),
            monotonic_ns: large(at::MONOTONIC_NS),
            realtime_ns: large(at::REALTIME_NS),
            clock: Clock::from_raw(small(at::CLOCK)),
            detail: Detail::from_raw(small(at::DETAIL)),
            mode: Mode::from_raw(small(at::MODE)),
            vma_source: VmaSource::from_raw(small(at::VMA_SOURCE)),
            keep: Keep::from_raw(small(at::KEEP)),
            forked_from: small(at::FORKED_FROM),
            boot_id,
            chunks: small(at::CHUNKS),
            capability: Capability::from_raw(small(at::CAPABILITY)),
            lost_full: large(at::LOST_FULL),
            lost_early: large(at::LOST_EARLY),
            lost_overwritten: large(at::LOST_OVERWRITTEN),
            lost_no_space: large(at::LOST_NO_SPACE),
            lost_truncated: large(at::LOST_TRUNCATED),
            later: (later_ticks != 0 && large(at::LATER_CHECK) == later_ticks ^ later_ns)
                .then_some((later_ticks, later_ns)),
            pid_namespace: large(at::PID_NAMESPACE),
            start_time: large(at::START_TIME),
            lost_no_memory: large(at::LOST_NO_MEMORY),
            lost_filtered: large(at::LOST_FILTERED),
        }
    }
}

/// Fields that have one value, in the order in which a reader checks them after the magic.
const GEOMETRY: [(usize, u32); 5] = [
    (at::BYTE_ORDER, layout::BYTE_ORDER),
    (at::VERSION, layout::VERSION),
    (at::HEADER_SIZE, layout::HEADER_SIZE as u32),
    (at::CHUNK_SIZE, layout::CHUNK_SIZE as u32),
    (at::SLOT_SIZE, layout::SLOT_SIZE as u32),
];

/// Checks that a readable trace starts here.
fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.get(..8) != Some(&layout::MAGIC[..]) {
        return Err(wrong(at::MAGIC, "not an mremap trace (magic bytes differ)"));
    }
    if bytes.len() < layout::HEADER_SIZE {
        return Err(wrong(bytes.len(), "the file ends inside the header"));
    }
    let is_other = |&(offset, value): &(usize, u32)| {
        let found = u32_at(bytes, offset);
        let is_shared = offset == at::VERSION && found == Some(layout::VERSION_SHARED);
        found != Some(value) && !is_shared
    };
    match GEOMETRY.into_iter().find(is_other) {
        None => Ok(()),
        Some((at::BYTE_ORDER, _)) => {
            Err(wrong(at::BYTE_ORDER, "recorded in the other byte order, or damaged"))
        }
        Some((at::VERSION, _)) => {
            Err(wrong(at::VERSION, "a format version this build does not read (it reads 1 and 2)"))
        }
        Some((offset, _)) => Err(wrong(offset, "a size that versions 1 and 2 do not have")),
    }
}

fn wrong(offset: usize, what: &'static str) -> DecodeError {
    DecodeError { offset: offset as u64, what }
}

impl<'a> HeaderText<'a> {
    fn fields(&self) -> [((usize, usize), &'a [u8]); 5] {
        [
            (at::SHIM_VERSION, self.shim_version),
            (at::KERNEL, self.kernel),
            (at::HOST, self.host),
            (at::EXE, self.exe),
            (at::ARGV, self.argv),
        ]
    }

    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            shim_version: text(bytes, at::SHIM_VERSION)?,
            kernel: text(bytes, at::KERNEL)?,
            host: text(bytes, at::HOST)?,
            exe: text(bytes, at::EXE)?,
            argv: text(bytes, at::ARGV)?,
        })
    }
}

/// Reads a text: its length in two bytes, then the text.
fn text(bytes: &[u8], (offset, room): (usize, usize)) -> Result<&[u8], DecodeError> {
    let field = bytes.get(offset..).unwrap_or(&[]);
    let Some((length, field)) = field.split_first_chunk() else {
        return Ok(&[]);
    };
    let length = usize::from(u16::from_ne_bytes(*length));
    if length > room {
        return Err(wrong(offset, "a text longer than its field"));
    }
    Ok(field.get(..length).unwrap_or(&[]))
}
