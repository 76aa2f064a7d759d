//! What the system tests share. The tests themselves are in `tests/tests/`, one file for each thing they defend;
//! the same executables run on this machine and, unchanged, in every guest kernel of `kernels.toml`.

pub mod artifacts;
pub mod need;
pub mod preload;
pub mod said;
pub mod script;
