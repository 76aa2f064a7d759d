//! The running kernel as the judge of the shim. A case is a layout of mappings and a few `mremap` requests;
//! it is carried out twice from the same seed, each time in a freshly forked child: once by the kernel, once
//! under the preload library told to emulate. What can be seen afterwards must be the same.
//!
//! The order of the modules is the path of a case: [`random`] numbers become a [`case`] in [`generate`]; the
//! `runner` lays it out, makes the requests and writes down an [`observation`]; [`pair`] runs two runners side
//! by side and compares; [`rules`] counts what the cases exercised; a difference is made small by [`shrink`]
//! and drawn by [`picture`]. [`transcript`] writes the same observations as text, for kernels that cannot be
//! compared on the spot.
//!
//! Nothing here knows how the shim works: it is asked through the C function, and seen through `/proc`.
// Every error is a sentence about a file, a process or the kernel, for whoever ran the comparison.
#![allow(clippy::missing_errors_doc)]

pub mod case;
pub mod compare;
pub mod generate;
pub mod named;
pub mod observation;
pub mod pair;
pub mod picture;
pub mod random;
pub mod rules;
pub mod runner;
pub mod sandbox;
pub mod scratch;
pub mod shrink;
pub mod transcript;
