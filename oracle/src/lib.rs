//! Compares the preload library with the running kernel. A case is a layout of VMAs and a few
//! `mremap` requests. Two freshly forked children run it: one by the kernel, one under the library
//! in mode `emulate`. Both must be in the same state afterwards.
//!
//! A case passes through the modules in this order: [`generate`] makes a [`case`] from [`random`]
//! numbers; the [`runner`] maps it, makes the requests and records an [`observation`]; [`pair`]
//! drives two runners; [`rules`] counts which rules the case met; [`shrink`] makes a differing case
//! smaller; [`picture`] draws it. [`transcript`] writes observations as text, to compare kernels
//! that do not run here.
//!
//! The library is a black box: it is called through `mremap` and observed through `/proc`.

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
