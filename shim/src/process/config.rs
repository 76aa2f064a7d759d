//! The settings, read once from the environment. `mremap_settings` defines them.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use mremap_settings::{self as settings, Id, Recorded, Setting};
use mremap_trace::{Detail, Keep};
pub(crate) use mremap_trace::{Mode, VmaSource};

use crate::sys::text::Text;

static MODE: AtomicU8 = AtomicU8::new(Mode::Auto as u8);
static VMA_SOURCE: AtomicU8 = AtomicU8::new(VmaSource::Auto as u8);
static TRACE_DETAIL: AtomicU8 = AtomicU8::new(Detail::Calls as u8);
static STACK_DEPTH: AtomicU8 = AtomicU8::new(0);
static LIBC: AtomicU8 = AtomicU8::new(0);
static TRUSTS_FILTERS: AtomicBool = AtomicBool::new(false);
static LEAVES_CHILDREN_OUT: AtomicBool = AtomicBool::new(false);

pub(crate) fn mode() -> Mode {
    Mode::from_raw(MODE.load(Ordering::Relaxed).into()).unwrap_or(Mode::Auto)
}

pub(crate) fn vma_source() -> VmaSource {
    VmaSource::from_raw(VMA_SOURCE.load(Ordering::Relaxed).into()).unwrap_or(VmaSource::Auto)
}

/// What is recorded of each move.
pub(crate) fn detail() -> Detail {
    Detail::from_raw(TRACE_DETAIL.load(Ordering::Relaxed).into()).unwrap_or(Detail::Calls)
}

/// Whether the VMAs of every moved range are recorded, not only those of emulated moves.
pub(crate) fn records_vmas() -> bool {
    detail() == Detail::Vmas
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

/// Whether a seccomp filter that was there before `exec` admits all calls of this library.
pub(crate) fn trusts_filters() -> bool {
    TRUSTS_FILTERS.load(Ordering::Relaxed)
}

/// Where and how much to record.
#[derive(Clone, Copy)]
pub(crate) struct TraceSettings<'a> {
    /// Directory for trace files; empty for no trace.
    pub(crate) directory: &'a [u8],
    /// Bytes for one process.
    pub(crate) size: u64,
    /// Which records are kept when the trace is full.
    pub(crate) keep: Keep,
    /// File names of the programs to record, separated by commas; empty for all.
    pub(crate) programs: &'a [u8],
    /// Which processes to record.
    pub(crate) recorded: Recorded,
}

impl<'a> TraceSettings<'a> {
    pub(crate) const NONE: Self = Self {
        directory: b"",
        size: 64 << 20,
        keep: Keep::First,
        programs: b"",
        recorded: Recorded::All,
    };

    /// Takes a variable of the environment, `NAME=value`. For a bad value the default stays, and
    /// `complain` is called with a line for the user.
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
            Id::Seccomp => TRUSTS_FILTERS.store(number != 0, Ordering::Relaxed),
            Id::Children => {}
            Id::Trace => self.directory = value,
            Id::Programs => self.programs = value,
            Id::TraceSize => self.size = number,
            Id::TraceKeep => self.keep = Keep::from_raw(number as u32).unwrap_or(Keep::First),
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
    line.push_printable(value.get(..64).unwrap_or(value));
    setting.complain(|piece| line.push(piece.as_bytes()));
    complain(line.as_str());
}
