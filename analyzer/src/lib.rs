//! The library behind `mremap-analyzer`: launches programs under the shim, reads the traces that it
//! writes, and reports on them.
//!
//! The modules are listed in the order in which data passes through them. Public are [`load`] and
//! [`model`], which the fuzz targets call, and [`execute`], which is all of the program.
// The documentation is for those who work on the analyzer, and names private modules.
#![allow(rustdoc::private_intra_doc_links)]

// Launch: find a program, check that the shim can reach it, start it.
mod program;
mod run;

// Read: records become events, and addresses get names.
pub mod load;
pub mod model;
mod named;
mod symbols;

// Evaluate: count the calls and judge them.
mod findings;
mod stats;

// Present: text and JSON, pictures, pages, files for other tools, live views.
mod diff;
mod events;
mod export;
mod html;
mod live;
mod pack;
mod picture;
mod report;
mod show;

// Explain: what this machine and the shim can do.
mod doctor;

// The command line, and the terminal behind it.
mod cli;
mod commands;
mod terminal;

pub use cli::Cli;
pub use commands::execute;
