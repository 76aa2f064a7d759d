//! Keeps `libgcc_s` out of the host: a library less to load, and nothing here ever unwinds.
//!
//! redhook links std, whose panic machinery names the unwinder. The linker drops that machinery,
//! since this library has no code that can panic, but by then it has already decided to need
//! libgcc_s. Names of our own replace the unwinder's; nothing is left that could call them. If the
//! link fails with "relocation against absolute symbol _Unwind_Resume", some code here can panic.

macro_rules! stand_in_for {
    ($($name:literal)*) => {
        core::arch::global_asm!($(
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!(".set ", $name, ", 0"),
        )*);
    };
}

stand_in_for! {
    "_Unwind_Backtrace"
    "_Unwind_GetDataRelBase"
    "_Unwind_GetIP"
    "_Unwind_GetIPInfo"
    "_Unwind_GetLanguageSpecificData"
    "_Unwind_GetRegionStart"
    "_Unwind_GetTextRelBase"
    "_Unwind_Resume"
    "_Unwind_SetGR"
    "_Unwind_SetIP"
}

// The same for glibc's loader, where std's thread-local storage has this function. musl's loader
// refuses a library that needs glibc's.
#[cfg(target_arch = "x86_64")]
stand_in_for! {
    "__tls_get_addr"
}
