//! Folded stacks: `program;outer;inner weight`, one line a stack.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::stacks::Stacks;
use super::{Exporter, Output, Weight};
use crate::named::Named;

/// Weights by line.
pub type Lines = BTreeMap<String, u64>;

/// Writes folded stacks.
pub struct Folded {
    out: Output,
    weight: Weight,
    stacks: Stacks,
}

impl Folded {
    /// Writes to `out` when finished.
    pub fn new(out: Output, weight: Weight) -> Self {
        Self { out, weight, stacks: Stacks::default() }
    }
}

/// The lines of all stacks with their weights.
pub fn lines(stacks: Stacks, weight: Weight) -> Lines {
    let mut lines = Lines::new();
    for sample in stacks.finish() {
        let names = sample.names();
        let names: Vec<String> =
            names.iter().map(|name| name.replace(';', ":").replace('\n', " ")).collect();
        let sum = lines.entry(names.join(";")).or_default();
        *sum = sum.saturating_add(sample.weight(weight));
    }
    lines
}

impl Exporter for Folded {
    fn take(&mut self, named: &Named) -> Result<()> {
        self.stacks.add(named);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        for (stack, weight) in lines(self.stacks, self.weight) {
            writeln!(self.out, "{stack} {weight}")?;
        }
        self.out.commit()
    }
}
