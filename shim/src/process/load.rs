//! Runs once, when the library is loaded: finds the real functions, reads the settings, opens the
//! trace.

use core::cell::Cell;
use core::ffi::{CStr, c_char, c_int, c_void};

use mremap_settings::{Recorded, TRACE};

use crate::discover::backing;
use crate::emulate::{capability, mapping_limit, move_lock};
use crate::hooks;
use crate::hooks::libc_calls;
use crate::hooks::real;
use crate::process::config::{self, Mode, TraceSettings};
use crate::process::diagnostics::{inform, push_errno, warn};
use crate::process::fork_state;
use crate::process::seccomp::{self, Loader};
use crate::recording::clock;
use crate::recording::identity;
use crate::recording::ring;
use crate::recording::ring::OpenError;
use crate::sys;
use crate::sys::text::Text;

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: unsafe extern "C" fn(c_int, *const *const c_char) = on_load;

unsafe extern "C" {
    /// libc's variable.
    static mut environ: *mut *const c_char;
}

/// glibc passes the program's arguments, musl nothing.
unsafe extern "C" fn on_load(_count: c_int, arguments: *const *const c_char) {
    let (is_preloaded, is_glibc) = (is_preloaded(), real::libc_is_glibc());
    // musl finds nothing after a library that `attach` loads. A `dlsym` that fails gives the thread
    // a buffer for the message, and musl up to 1.2.3 hangs if a thread that has one ends while
    // another one forks.
    if is_preloaded || is_glibc {
        real::resolve(hooks::is_own);
    }
    let arguments = if is_glibc { arguments } else { core::ptr::null() };
    // SAFETY: libc sets the variable before it runs constructors, and there is one thread. A
    // secure-execution process has no settings.
    let environment = unsafe {
        if libc::getauxval(libc::AT_SECURE) == 0 { environ } else { core::ptr::null_mut() }
    };
    let has_bad_value = Cell::new(false);
    // SAFETY: the loader's own array.
    let trace = unsafe { read_settings(environment, |_| has_bad_value.set(true)) };
    if is_preloaded {
        // SAFETY: the program has not begun.
        unsafe { capability::read_version() };
    }
    let forwards_all = forwards_all();
    let has_more_to_do =
        !trace.directory.is_empty() || config::patches_libc() || has_bad_value.get();
    if is_preloaded && forwards_all && !has_more_to_do {
        return;
    }
    if !config::trusts_filters() {
        seccomp::detect(if is_glibc { Loader::Glibc } else { Loader::Musl });
    }
    if !forwards_all {
        mapping_limit::keep_spare();
    }
    real::at_fork(
        move_lock::before_fork,
        move_lock::after_fork_in_parent,
        move_lock::after_fork_in_child,
    );
    if seccomp::is_filtered() {
        // The trial makes no system call but those that the loader has just made. Later none may be
        // safe.
        capability::of_kernel();
        return;
    }
    fork_state::begin();
    if !forwards_all || config::records_vmas() {
        backing::prepare();
    }
    // Again, now that bad values can be reported.
    // SAFETY: likewise.
    let trace = unsafe { read_settings(environment, warn) };
    // SAFETY: the one call. The array is the loader's own.
    let is_recorded = trace.directory.is_empty() || unsafe { open(&trace, arguments, environment) };
    if is_recorded && config::patches_libc() {
        redirect_libc();
    }
}

/// Whether no move will be emulated.
fn forwards_all() -> bool {
    match config::mode() {
        Mode::Auto => capability::is_native(),
        Mode::Emulate => false,
        Mode::PassThrough => true,
    }
}

/// Reads the settings.
///
/// # Safety
/// `environment` is null, or an array of C strings that ends with a null pointer and stays valid.
pub(super) unsafe fn read_settings(
    environment: *mut *const c_char,
    complain: impl Fn(&str),
) -> TraceSettings<'static> {
    let mut trace = TraceSettings::NONE;
    // SAFETY: by the contract above.
    for variable in unsafe { strings(environment.cast_const()) } {
        trace.take(variable, &complain);
    }
    trace
}

/// Opens the trace. Returns false if this process is not to be recorded.
///
/// # Safety
/// Called once. Both arrays are null or end with a null pointer, and no other code uses the
/// environment now.
unsafe fn open(
    trace: &TraceSettings<'_>,
    arguments: *const *const c_char,
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
    // SAFETY: by the contract above.
    let arguments = unsafe { strings(arguments) };
    // SAFETY: this is the one call, and the trace is opened after it.
    unsafe { identity::gather(trace.directory, arguments) };
    #[cfg(target_arch = "x86_64")]
    crate::recording::stack_words::set_environment(environment.addr());
    if !trace.concerns_program(identity::exe()) {
        return false;
    }
    if let Err(error) = ring::open(trace) {
        let mut line = Text::<400>::EMPTY;
        describe(&error, trace.directory, &mut line);
        warn(line.as_str());
    }
    true
}

/// Whether this library comes before libc, as only a preloaded one does. One that is opened later
/// finds a process to which anything may have happened. musl lists itself first: no answer there.
fn is_preloaded() -> bool {
    const OWN: c_int = 1;
    const OF_LIBC: c_int = 2;
    unsafe extern "C" fn look(
        module: *mut libc::dl_phdr_info,
        _size: usize,
        _data: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid description.
        let (base, headers) = unsafe {
            let module = &*module;
            let count = usize::from(module.dlpi_phnum);
            (module.dlpi_addr, core::slice::from_raw_parts(module.dlpi_phdr, count))
        };
        let contains = |address: *const ()| {
            headers.iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
                let start = base.wrapping_add(header.p_vaddr);
                (address.addr() as u64).wrapping_sub(start) < header.p_memsz
            })
        };
        if contains(on_load as *const ()) {
            OWN
        } else if contains(libc::getauxval as *const ()) {
            OF_LIBC
        } else {
            0
        }
    }
    // SAFETY: `look` has the type that is wanted. This thread holds the loader's lock, or may take
    // it.
    unsafe { libc::dl_iterate_phdr(Some(look), core::ptr::null_mut()) == OWN }
}

fn redirect_libc() {
    match libc_calls::redirect() {
        Ok(()) => inform("libc's own calls of mremap are seen", "", None),
        Err(refusal) => {
            let mut line = Text::<256>::EMPTY;
            line.push(b"libc's own calls of mremap are not seen: ");
            refusal.describe(&mut line);
            warn(line.as_str());
        }
    }
}

/// Appends why there is no trace.
pub(super) fn describe(error: &OpenError, directory: &[u8], line: &mut Text<400>) {
    line.push(b"no trace: ");
    match *error {
        OpenError::NameTooLong => {
            line.push(TRACE.name.as_bytes());
            line.push(b" is longer than a path may be");
        }
        OpenError::File(errno) => {
            line.push(b"cannot create a file in ");
            line.push_printable(directory);
            line.push(b": ");
            push_errno(line, errno.0);
        }
        OpenError::Space(errno) => {
            line.push(b"no room for a file in ");
            line.push_printable(directory);
            line.push(b": ");
            push_errno(line, errno.0);
        }
    }
}

/// Makes `MREMAP_SHIM_CHILDREN=0` name this process, so that its children know that they are left
/// out, and programs it executes in its place know that they are recorded.
///
/// # Safety
/// Called once. `environment` is null or ends with a null pointer, and no other code uses it now.
unsafe fn name_process_to_children(environment: *mut *const c_char) {
    const NAME: &[u8] = b"MREMAP_SHIM_CHILDREN=";
    static mut VARIABLE: Text<48> = Text::EMPTY;
    let variable = &raw mut VARIABLE;
    // SAFETY: this is the one call, and no other code refers to the variable.
    let variable = unsafe { &mut *variable };
    variable.push(NAME);
    variable.push(b"0:");
    variable.push_number(u64::from(sys::pid()));
    // SAFETY: by the contract above.
    let count = unsafe { strings(environment.cast_const()) }.count();
    for index in 0..count {
        // SAFETY: `index` is below that of the null pointer.
        let entry = unsafe { &mut *environment.add(index) };
        // SAFETY: every entry before the null pointer is a C string.
        if unsafe { CStr::from_ptr(*entry) }.to_bytes().starts_with(NAME) {
            *entry = (&raw const variable.bytes).cast();
        }
    }
}

/// # Safety
/// `array` is null, or an array of C strings that ends with a null pointer. Both stay valid.
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
