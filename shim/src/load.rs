//! What happens once, when the library is loaded: read the settings, find the next `mremap`, open the trace.

use core::ffi::{CStr, c_char, c_int};

use crate::config::{self, TraceSettings};
use crate::ring::OpenError;
use crate::{clock, diagnostics, identity, next, ring};

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = on_load;

/// glibc passes `main`'s three arguments to every constructor.
unsafe extern "C" fn on_load(_: c_int, arguments: *const *const c_char, environment: *const *const c_char) {
    next::resolve();
    // SAFETY: reads the auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    // SAFETY: the loader's own null-terminated arrays of C strings.
    let (arguments, environment) = unsafe { (strings(arguments), strings(environment)) };
    let mut trace = TraceSettings::NONE;
    for variable in environment {
        config::take(variable, &mut trace, |name, expected| {
            diagnostics::warn(name, expected, None);
        });
    }
    if trace.directory.is_empty() {
        return;
    }
    clock::choose();
    // SAFETY: this is the one call, and the trace is opened after it.
    unsafe { identity::gather(trace.directory, arguments) };
    if let Err(error) = ring::open(trace.size) {
        let (why, errno) = match error {
            OpenError::NoWipeOnFork => ("this kernel has no MADV_WIPEONFORK (Linux 4.14)", None),
            OpenError::NameTooLong => ("the name of the directory is too long", None),
            OpenError::File(errno) => (
                "cannot make a file in the directory of MREMAP_SHIM_TRACE, errno ",
                Some(i64::from(errno)),
            ),
            OpenError::Space(errno) => (
                "no room for a file in the directory of MREMAP_SHIM_TRACE, errno ",
                Some(i64::from(errno)),
            ),
        };
        diagnostics::warn("no trace: ", why, errno);
    }
}

/// # Safety
/// `array` is null, or an array of C strings ended by a null pointer, both there for ever.
unsafe fn strings(array: *const *const c_char) -> impl Iterator<Item = &'static [u8]> {
    let mut next = array;
    core::iter::from_fn(move || {
        // SAFETY: by the contract above, and because the null pointer ends the walk.
        let text = unsafe { next.as_ref().copied().filter(|text| !text.is_null())? };
        // SAFETY: not beyond the array's null pointer.
        next = unsafe { next.add(1) };
        // SAFETY: by the contract above.
        Some(unsafe { CStr::from_ptr(text) }.to_bytes())
    })
}
