//! The library of the measuring programs (`src/bin/`), and the suites that run them.
//!
//! A program runs its variants in turns and prints a [`rounds::Series`] for each, with one figure a
//! round. The figures of one round are taken within milliseconds, so that their ratio is
//! meaningful. The [`suites`] make rows of a [`table`] from the figures; [`results`] keeps the
//! table.

pub mod clock;
pub mod kernel;
pub mod layout;
pub mod limited;
pub mod methods;
pub mod rounds;
pub mod stepping;

pub mod results;
pub mod stats;
pub mod subject;
pub mod suites;
pub mod table;
