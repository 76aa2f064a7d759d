//! The settings, read once from the environment. `mremap_settings` defines them.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use mremap_settings::{self as settings, Id, Recorded, Setting};

use crate::sys::text::Text;

/// `MREMAP_SHIM_MODE`, by its number in the trace.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    Auto = 0,
    Emulate = 1,
    PassThrough = 2,
}

/// `MREMAP_SHIM_VMA_SOURCE`, by its number in the trace.
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
static LIBC: AtomicU8 = AtomicU8::new(0);
static LEAVES_CHILDREN_OUT: AtomicBool = AtomicBool::new(false);

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

/// Frames recorded above each call site.
pub(crate) fn stack_depth() -> u8 {
    STACK_DEPTH.load(Ordering::Relaxed)
}

/// Whether the children of the process are recorded.
pub(crate) fn records_children() -> bool {
    !LEAVES_CHILDREN_OUT.load(Ordering::Relaxed)
}

/// Whether libc's `mremap` is to jump to our hook.
pub(crate) fn patches_libc() -> bool {
    LIBC.load(Ordering::Relaxed) != 0
}

/// Where and how much to record.
#[derive(Clone, Copy)]
pub(crate) struct TraceSettings<'a> {
    /// Directory for trace files; empty for no trace.
    pub(crate) directory: &'a [u8],
    /// Bytes for one process.
    pub(crate) size: u64,
    /// Whether a full trace overwrites its oldest records.
    pub(crate) keeps_last: bool,
    /// File names of the programs to record, separated by commas; empty for all.
    pub(crate) programs: &'a [u8],
    /// Which processes to record.
    pub(crate) recorded: Recorded,
}

impl<'a> TraceSettings<'a> {
    pub(crate) const NONE: Self = Self {
        directory: b"",
        size: 64 << 20,
        keeps_last: false,
        programs: b"",
        recorded: Recorded::All,
    };

    /// Takes a variable of the environment, `NAME=value`. For a bad value the default stays, and `complain`
    /// is called with a line for the user.
    pub(crate) fn take(&mut self, variable: &'a [u8], complain: impl FnOnce(&str)) {
        let Some(equals) = variable.iter().position(|&byte| byte == b'=') else { return };
        let (name, value) = (&variable[..equals], &variable[equals + 1..]);
        let Some(setting) = settings::find(name) else { return };
        if let (Id::Children, Some(recorded)) = (setting.id, Recorded::parse(value)) {
            LEAVES_CHILDREN_OUT.store(recorded != Recorded::All, Ordering::Relaxed);
            self.recorded = recorded;
            return;
        }
        let Some(number) = setting.parse(value) else {
            return complain_of(setting, value, complain);
        };
        match setting.id {
            Id::Mode => MODE.store(number as u8, Ordering::Relaxed),
            Id::VmaSource => VMA_SOURCE.store(number as u8, Ordering::Relaxed),
            Id::TraceDetail => TRACE_DETAIL.store(number as u8, Ordering::Relaxed),
            Id::Stack => STACK_DEPTH.store(number as u8, Ordering::Relaxed),
            Id::Libc => LIBC.store(number as u8, Ordering::Relaxed),
            Id::Children => {}
            Id::Trace => self.directory = value,
            Id::Programs => self.programs = value,
            Id::TraceSize => self.size = number,
            Id::TraceKeep => self.keeps_last = number != 0,
        }
    }

    /// Whether the process `pid` is to be recorded.
    pub(crate) fn concerns_process(&self, pid: u32) -> bool {
        match self.recorded {
            Recorded::All | Recorded::First => true,
            Recorded::Only(only) => only == pid,
        }
    }

    /// Whether the program at the path `exe` is to be recorded.
    pub(crate) fn concerns_program(&self, exe: &[u8]) -> bool {
        let name = exe.rsplit(|&byte| byte == b'/').next().unwrap_or(exe);
        self.programs.is_empty() || self.programs.split(|&byte| byte == b',').any(|one| one == name)
    }
}

/// Calls `complain` with `MREMAP_SHIM_MODE=on must be auto, emulate or passthrough; using auto`.
fn complain_of(setting: &Setting, value: &[u8], complain: impl FnOnce(&str)) {
    let mut line = Text::<256>::EMPTY;
    line.push(setting.name.as_bytes());
    line.push(b"=");
    for &byte in value.iter().take(64) {
        line.push(&[if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' }]);
    }
    setting.complain(|piece| line.push(piece.as_bytes()));
    complain(core::str::from_utf8(line.get()).unwrap_or(setting.name));
}
