//! One module a group of rows. Each runs what it needs in turns and returns its rows; none judges another's.

pub mod calls;
mod exports;
pub mod guests;
pub mod instructions;
pub mod lttng;
pub mod moves;
pub mod peers;
mod readers;
pub mod report;
pub mod startup;
pub mod trace;
