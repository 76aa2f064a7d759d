//! The settings, read once from the environment.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// `MREMAP_SHIM_MODE`. The numbers are those of the trace's header.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub(crate) enum Mode {
    Auto = 0,
    Emulate = 1,
    PassThrough = 2,
}

/// `MREMAP_SHIM_VMA_SOURCE`. The numbers are those of the trace's header.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum VmaSource {
    Auto = 0,
    Query = 1,
    Maps = 2,
    Bisect = 3,
}

static MODE: AtomicU8 = AtomicU8::new(Mode::Auto as u8);
static VMA_SOURCE: AtomicU8 = AtomicU8::new(VmaSource::Auto as u8);
static TRACE_DETAIL: AtomicU8 = AtomicU8::new(0);
static STACK_DEPTH: AtomicU8 = AtomicU8::new(0);
static LEAVES_CHILDREN_OUT: AtomicBool = AtomicBool::new(false);
static LIBC: AtomicU8 = AtomicU8::new(0);

pub(crate) fn mode() -> Mode {
    match MODE.load(Ordering::Relaxed) {
        1 => Mode::Emulate,
        2 => Mode::PassThrough,
        _ => Mode::Auto,
    }
}

pub(crate) fn vma_source() -> VmaSource {
    match VMA_SOURCE.load(Ordering::Relaxed) {
        1 => VmaSource::Query,
        2 => VmaSource::Maps,
        3 => VmaSource::Bisect,
        _ => VmaSource::Auto,
    }
}

/// Whether the VMAs of every moved range are recorded, not only those of emulated moves.
pub(crate) fn records_vmas() -> bool {
    TRACE_DETAIL.load(Ordering::Relaxed) != 0
}

/// Frames recorded above each call's own caller.
pub(crate) fn stack_depth() -> u8 {
    STACK_DEPTH.load(Ordering::Relaxed)
}

/// Whether the children of the process are recorded, too.
pub(crate) fn records_children() -> bool {
    !LEAVES_CHILDREN_OUT.load(Ordering::Relaxed)
}

/// Whether the calls that libc makes to itself are to be seen.
pub(crate) fn redirects_libc() -> bool {
    LIBC.load(Ordering::Relaxed) != 0
}

/// Where and how much to record.
#[derive(Clone, Copy)]
pub(crate) struct TraceSettings<'a> {
    /// Directory for trace files.
    pub(crate) directory: &'a [u8],
    /// Bytes for one process.
    pub(crate) size: u64,
    /// When the trace is full, the oldest records give way.
    pub(crate) keeps_last: bool,
    /// Names of the programs to record, separated by commas; all when empty.
    pub(crate) programs: &'a [u8],
    /// The one process to record, if its children are left out.
    pub(crate) only_process: Option<u32>,
}

const DEFAULT_TRACE_SIZE: u64 = 64 << 20;
const SMALLEST_TRACE: u64 = 64 << 10;
const MOST_FRAMES: u64 = 60;

/// A setting that is one of a few words, each the number of its place.
struct Choice {
    name: &'static [u8],
    words: &'static [&'static [u8]],
    chosen: &'static AtomicU8,
    complaint: [&'static str; 2],
}

static CHOICES: [Choice; 4] = [
    Choice {
        name: b"MODE",
        words: &[b"auto", b"emulate", b"passthrough"],
        chosen: &MODE,
        complaint: ["MREMAP_SHIM_MODE", " must be auto, emulate or passthrough; using auto"],
    },
    Choice {
        name: b"VMA_SOURCE",
        words: &[b"auto", b"query", b"maps", b"bisect"],
        chosen: &VMA_SOURCE,
        complaint: ["MREMAP_SHIM_VMA_SOURCE", " must be auto, query, maps or bisect; using auto"],
    },
    Choice {
        name: b"TRACE_DETAIL",
        words: &[b"calls", b"vmas"],
        chosen: &TRACE_DETAIL,
        complaint: ["MREMAP_SHIM_TRACE_DETAIL", " must be calls or vmas; using calls"],
    },
    Choice {
        name: b"LIBC",
        words: &[b"leave", b"patch"],
        chosen: &LIBC,
        complaint: ["MREMAP_SHIM_LIBC", " must be leave or patch; using leave"],
    },
];

/// Takes one variable, given as `NAME=value`; calls `complain` with the name and what is wrong when the
/// value cannot be used.
pub(crate) fn take<'a>(
    variable: &'a [u8],
    trace: &mut TraceSettings<'a>,
    mut complain: impl FnMut(&'static str, &'static str),
) {
    let Some(setting) = variable.strip_prefix(b"MREMAP_SHIM_") else {
        return;
    };
    let Some(equals) = setting.iter().position(|&byte| byte == b'=') else {
        return;
    };
    let (name, value) = (&setting[..equals], &setting[equals + 1..]);
    let complaint = match CHOICES.iter().find(|choice| choice.name == name) {
        Some(choice) => choice.take(value),
        None => trace.take(name, value),
    };
    if let Err([name, expected]) = complaint {
        complain(name, expected);
    }
}

impl Choice {
    fn take(&self, value: &[u8]) -> Result<(), [&'static str; 2]> {
        let place = self.words.iter().position(|&word| word == value);
        self.chosen.store(place.ok_or(self.complaint)? as u8, Ordering::Relaxed);
        Ok(())
    }
}

impl<'a> TraceSettings<'a> {
    pub(crate) const NONE: Self = Self {
        directory: b"",
        size: DEFAULT_TRACE_SIZE,
        keeps_last: false,
        programs: b"",
        only_process: None,
    };

    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), [&'static str; 2]> {
        match name {
            b"TRACE" => self.directory = value,
            b"PROGRAMS" => self.programs = value,
            b"TRACE_SIZE" => {
                self.size = parse_size(value).filter(|&size| size >= SMALLEST_TRACE).ok_or([
                    "MREMAP_SHIM_TRACE_SIZE",
                    " must be 64K or more, as bytes or with K, M or G; using 64M",
                ])?;
            }
            b"TRACE_KEEP" => match value {
                b"first" => self.keeps_last = false,
                b"last" => self.keeps_last = true,
                _ => return Err(["MREMAP_SHIM_TRACE_KEEP", " must be first or last; using first"]),
            },
            b"STACK" => {
                let depth = parse_size(value)
                    .filter(|&depth| depth <= MOST_FRAMES)
                    .ok_or(["MREMAP_SHIM_STACK", " must be 0 to 60; using 0"])?;
                STACK_DEPTH.store(depth as u8, Ordering::Relaxed);
            }
            b"CHILDREN" if value != b"1" => {
                let process = parse_size(value)
                    .ok_or(["MREMAP_SHIM_CHILDREN", " must be 0 or 1; using 1"])?;
                LEAVES_CHILDREN_OUT.store(true, Ordering::Relaxed);
                self.only_process = Some(process as u32);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the process `pid` is one to record. 0 in the setting is the first process to read it.
    pub(crate) fn concerns_process(&self, pid: u32) -> bool {
        self.only_process.is_none_or(|only| only == 0 || only == pid)
    }

    /// Whether the program at the path `exe` is one to record.
    pub(crate) fn concerns_program(&self, exe: &[u8]) -> bool {
        let name = exe.rsplit(|&byte| byte == b'/').next().unwrap_or(exe);
        self.programs.is_empty() || self.programs.split(|&byte| byte == b',').any(|one| one == name)
    }
}

fn parse_size(text: &[u8]) -> Option<u64> {
    let (digits, unit) = match text.split_last()? {
        (b'K' | b'k', digits) => (digits, 1 << 10),
        (b'M' | b'm', digits) => (digits, 1 << 20),
        (b'G' | b'g', digits) => (digits, 1 << 30),
        _ => (text, 1u64),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    value.checked_mul(unit)
}
