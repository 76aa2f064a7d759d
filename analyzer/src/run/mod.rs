//! `run`: a program under the shim. [`launch`] starts it, after [`program`] has told whether a preload
//! library can reach it; [`signals`] keeps Ctrl-C the program's own.

mod launch;
mod program;
mod signals;

pub use launch::run;
