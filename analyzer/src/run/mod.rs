//! `run`: a program under the shim. [`launch`] starts it, with the [`preload`] library in its place;
//! [`signals`] keeps Ctrl-C the program's own.

mod launch;
pub mod preload;
mod signals;

pub use launch::run;
