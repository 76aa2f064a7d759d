//! The suites, a module each. They run the measuring programs and return rows.

pub mod calls;
mod exports;
pub mod guests;
pub mod instructions;
pub mod lttng;
pub mod moves;
pub mod peers;
pub mod reach;
mod readers;
pub mod report;
pub mod startup;
pub mod trace;
