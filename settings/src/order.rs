//! What `mremap-analyzer attach` and the library in a process that runs already pass each other.

/// Name of the library's function that begins to record. It takes the address of an [`Order`].
pub const ATTACH: &str = "mremap_shim_attach";
/// Name of the one that is called twice: it tells how to restore libc's code, then ends the trace.
pub const DETACH: &str = "mremap_shim_detach";

/// Bytes of a jump in libc's code, with the bytes behind it that stay.
pub const CODE: usize = 8;

/// Filled in by the tracer, then by the library. Has no padding.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Order {
    /// Address of a null-terminated array of C strings, `MREMAP_SHIM_NAME=value`.
    pub settings: u64,
    /// Address of libc's `mremap`.
    pub entry: u64,
    /// Not 0 when the library was in the process before this order.
    pub was_loaded: u64,
    /// Set to 1 by the library when libc's code still jumps to it.
    pub is_redirected: u64,
    /// Set to 1 by the library when it has done what was asked.
    pub is_done: u64,
    /// Where libc's code is to be changed.
    pub at: u64,
    /// The code there without the jump.
    pub plain: [u8; CODE],
    /// The code there with it.
    pub jump: [u8; CODE],
    /// Length of `message`.
    pub message_len: u64,
    /// Why the library has not done it.
    pub message: [u8; 400],
}

impl Order {
    /// All zeros.
    pub const EMPTY: Self = Self {
        settings: 0,
        entry: 0,
        was_loaded: 0,
        is_redirected: 0,
        is_done: 0,
        at: 0,
        plain: [0; CODE],
        jump: [0; CODE],
        message_len: 0,
        message: [0; 400],
    };
}
