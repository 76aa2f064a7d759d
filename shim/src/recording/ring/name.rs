//! The name of a process's trace file.

use core::ffi::CStr;

use crate::recording::identity;
use crate::sys::text::Text;

/// Bytes of the executable's name that are kept.
const EXE: usize = 32;

/// A file name that ends with a NUL byte.
pub(super) struct Name(Text<96>);

impl Name {
    /// Names the trace of a process `EXE.PID.NANOSECONDS.mremap`: no other process of this boot has
    /// that name.
    pub(super) fn new(pid: u32, monotonic_ns: u64) -> Self {
        let exe = identity::exe();
        let base = exe.rsplit(|&byte| byte == b'/').next().unwrap_or(&[]);
        let mut name = Text::EMPTY;
        name.push(base.get(..EXE).unwrap_or(base));
        name.push(b".");
        name.push_number(u64::from(pid));
        name.push(b".");
        name.push_number(monotonic_ns);
        name.push(b".mremap\0");
        Self(name)
    }

    pub(super) fn get(&self) -> &CStr {
        CStr::from_bytes_with_nul(self.0.get()).unwrap_or(c"unnamed.mremap")
    }
}
