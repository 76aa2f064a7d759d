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
static DETAIL_VMAS: AtomicU8 = AtomicU8::new(0);
static STACK_DEPTH: AtomicU8 = AtomicU8::new(0);
static LEAVES_CHILDREN_OUT: AtomicBool = AtomicBool::new(false);
static REDIRECTS_LIBC: AtomicBool = AtomicBool::new(false);

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
    DETAIL_VMAS.load(Ordering::Relaxed) != 0
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
    REDIRECTS_LIBC.load(Ordering::Relaxed)
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
    match name {
        b"MODE" => match value {
            b"auto" => MODE.store(Mode::Auto as u8, Ordering::Relaxed),
            b"emulate" => MODE.store(Mode::Emulate as u8, Ordering::Relaxed),
            b"passthrough" => MODE.store(Mode::PassThrough as u8, Ordering::Relaxed),
            _ => complain(
                "MREMAP_SHIM_MODE",
                " must be auto, emulate or passthrough; using auto",
            ),
        },
        b"VMA_SOURCE" => match value {
            b"auto" => VMA_SOURCE.store(VmaSource::Auto as u8, Ordering::Relaxed),
            b"query" => VMA_SOURCE.store(VmaSource::Query as u8, Ordering::Relaxed),
            b"maps" => VMA_SOURCE.store(VmaSource::Maps as u8, Ordering::Relaxed),
            b"bisect" => VMA_SOURCE.store(VmaSource::Bisect as u8, Ordering::Relaxed),
            _ => complain(
                "MREMAP_SHIM_VMA_SOURCE",
                " must be auto, query, maps or bisect; using auto",
            ),
        },
        b"TRACE_DETAIL" => match value {
            b"calls" => DETAIL_VMAS.store(0, Ordering::Relaxed),
            b"vmas" => DETAIL_VMAS.store(1, Ordering::Relaxed),
            _ => complain("MREMAP_SHIM_TRACE_DETAIL", " must be calls or vmas; using calls"),
        },
        b"TRACE_SIZE" => match parse_size(value) {
            Some(size) if size >= SMALLEST_TRACE => trace.size = size,
            _ => complain(
                "MREMAP_SHIM_TRACE_SIZE",
                " must be 64K or more, as bytes or with K, M or G; using 64M",
            ),
        },
        b"TRACE_KEEP" => match value {
            b"first" => trace.keeps_last = false,
            b"last" => trace.keeps_last = true,
            _ => complain("MREMAP_SHIM_TRACE_KEEP", " must be first or last; using first"),
        },
        b"STACK" => match parse_size(value) {
            Some(depth) if depth <= MOST_FRAMES => STACK_DEPTH.store(depth as u8, Ordering::Relaxed),
            _ => complain("MREMAP_SHIM_STACK", " must be 0 to 60; using 0"),
        },
        b"CHILDREN" => match (value, parse_size(value)) {
            (b"1", _) => {}
            (_, Some(process)) => {
                LEAVES_CHILDREN_OUT.store(true, Ordering::Relaxed);
                trace.only_process = Some(process as u32);
            }
            _ => complain("MREMAP_SHIM_CHILDREN", " must be 0 or 1; using 1"),
        },
        b"LIBC" => match value {
            b"leave" => REDIRECTS_LIBC.store(false, Ordering::Relaxed),
            b"patch" => REDIRECTS_LIBC.store(true, Ordering::Relaxed),
            _ => complain("MREMAP_SHIM_LIBC", " must be leave or patch; using leave"),
        },
        b"PROGRAMS" => trace.programs = value,
        b"TRACE" => trace.directory = value,
        _ => {}
    }
}

impl TraceSettings<'_> {
    pub(crate) const NONE: Self = Self {
        directory: b"",
        size: DEFAULT_TRACE_SIZE,
        keeps_last: false,
        programs: b"",
        only_process: None,
    };

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
