//! What the measured programs (`src/bin/`) share, and what is made of their figures.
//!
//! A measured program runs its variants in turns and prints one [`rounds::Series`] for each: a figure a
//! round, so that the figures of one round, taken within milliseconds of each other, can be divided by one
//! another. The [`suites`] run the programs and make rows of a [`table`] of their figures; [`results`] keeps it.

pub mod clock;
pub mod kernel;
pub mod layout;
pub mod limited;
pub mod rounds;
pub mod stepping;
pub mod strategies;

pub mod results;
pub mod stats;
pub mod subject;
pub mod suites;
pub mod table;
