//! What happens once, when the library is loaded: read the settings, find the next `mremap`, open the trace.

use core::ffi::{CStr, c_char, c_int};

use mremap_settings::Recorded;

use crate::emulate::mapping_limit;
use crate::hooks;
use crate::hooks::libc_calls::{self, Refusal};
use crate::hooks::real;
use crate::process::config::{self, TraceSettings};
use crate::process::diagnostics;
use crate::process::fork_state;
use crate::recording::clock;
use crate::recording::identity;
use crate::recording::ring;
use crate::recording::ring::OpenError;
use crate::sys;
use crate::sys::text::Text;

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: unsafe extern "C" fn(c_int, *const *const c_char, *mut *const c_char) = on_load;

/// glibc passes `main`'s three arguments to every constructor.
unsafe extern "C" fn on_load(
    _: c_int,
    arguments: *const *const c_char,
    environment_array: *mut *const c_char,
) {
    real::resolve(hooks::are_at);
    fork_state::advise();
    mapping_limit::keep_spare();
    // SAFETY: reads the auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    // SAFETY: the loader's own null-terminated arrays of C strings.
    let (arguments, environment) =
        unsafe { (strings(arguments), strings(environment_array.cast_const())) };
    let mut trace = TraceSettings::NONE;
    for variable in environment {
        trace.take(variable, |complaint| diagnostics::warn(complaint, "", None));
    }
    // SAFETY: the one call; the arrays are the loader's.
    let concerns_us =
        trace.directory.is_empty() || unsafe { open(&trace, arguments, environment_array) };
    if concerns_us && config::patches_libc() {
        redirect_libc();
    }
}

/// Opens the trace, if this process is one to be recorded; else false.
///
/// # Safety
/// Called once. `environment` is null or ended by a null pointer, and nobody else uses it now.
unsafe fn open(
    trace: &TraceSettings<'_>,
    arguments: impl Iterator<Item = &'static [u8]>,
    environment: *mut *const c_char,
) -> bool {
    if !trace.concerns_process(sys::pid()) {
        return false;
    }
    if trace.recorded == Recorded::First {
        // SAFETY: by the contract above.
        unsafe { name_process_to_children(environment) };
    }
    clock::choose();
    // SAFETY: this is the one call, and the trace is opened after it.
    unsafe { identity::gather(trace.directory, arguments) };
    if !trace.concerns_program(identity::exe()) {
        return false;
    }
    if let Err(error) = ring::open(trace) {
        complain(&error);
    }
    true
}

fn redirect_libc() {
    match libc_calls::redirect() {
        Ok(()) => diagnostics::inform("libc's own calls of mremap are seen", "", None),
        Err(Refusal { why, errno }) => {
            diagnostics::warn(
                "libc's own calls of mremap are not seen: ",
                why,
                errno.map(i64::from),
            );
        }
    }
}

fn complain(error: &OpenError) {
    let (why, errno) = match *error {
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

/// Makes `MREMAP_SHIM_CHILDREN=0` name this process, so that its children know that they are left out, and
/// programs it executes in its place know that they are recorded.
///
/// # Safety
/// `environment` is null or ended by a null pointer, and nobody else uses it now.
unsafe fn name_process_to_children(environment: *mut *const c_char) {
    const NAME: &[u8] = b"MREMAP_SHIM_CHILDREN=";
    static mut VARIABLE: Text<48> = Text::EMPTY;
    let variable = &raw mut VARIABLE;
    // SAFETY: called once, at load, and no other code refers to it. It is not written again.
    let variable = unsafe { &mut *variable };
    variable.push(NAME);
    variable.push(b"0:");
    variable.push_number(u64::from(sys::pid()));
    // SAFETY: by the contract above.
    let pointers = unsafe { strings(environment.cast_const()) }.count();
    for index in 0..pointers {
        // SAFETY: not beyond the array's null pointer.
        let pointer = unsafe { &mut *environment.add(index) };
        // SAFETY: each one before it is a C string.
        if unsafe { CStr::from_ptr(*pointer) }.to_bytes().starts_with(NAME) {
            *pointer = (&raw const variable.bytes).cast();
        }
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
