//! Helpers of the system tests in `tests/tests/`. The same executables run on this machine and in
//! every guest kernel of `kernels.toml`.

pub mod artifacts;
pub mod need;
pub mod output;
pub mod preload;
pub mod running;
pub mod script;
pub mod strace;
pub mod tracer;
