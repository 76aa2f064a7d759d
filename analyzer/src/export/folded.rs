//! Folded stacks: `program;outer;inner weight`, one line a stack.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use foldhash::{HashMap, HashMapExt};

use super::{Exporter, Output, Weight};
use crate::named::Named;

/// Distinct stacks kept; the weight of further ones goes to `other`.
const MOST_STACKS: usize = 1 << 18;

/// Sums weights by stack.
pub struct Folded {
    out: Output,
    weight: Weight,
    /// Line and weight by the ids of process, call site and callers.
    seen: HashMap<Vec<usize>, (String, u64)>,
    key: Vec<usize>,
    stacks: BTreeMap<String, u64>,
}

impl Folded {
    /// Writes to `out` when finished.
    pub fn new(out: Output, weight: Weight) -> Self {
        Self { out, weight, seen: HashMap::new(), key: Vec::new(), stacks: BTreeMap::new() }
    }

    /// Merges stacks of different processes whose lines are equal.
    fn merge_equal(&mut self) {
        for (mut line, weight) in self.seen.drain().map(|(_, stack)| stack) {
            if self.stacks.len() >= MOST_STACKS && !self.stacks.contains_key(&line) {
                "other".clone_into(&mut line);
            }
            let sum = self.stacks.entry(line).or_default();
            *sum = sum.saturating_add(weight);
        }
    }
}

/// The program and its frames, outermost first, inlined functions included.
fn stack(named: &Named) -> Vec<String> {
    let program = named.origin.exe.rsplit('/').next().unwrap_or_default();
    let mut frames = vec![program.to_owned()];
    for place in named.stack.iter().rev() {
        frames.extend(place.site.stack());
    }
    frames.extend(named.site.site.stack());
    frames
}

impl Exporter for Folded {
    fn take(&mut self, named: &Named) -> Result<()> {
        let weight = match self.weight {
            Weight::Calls => 1,
            Weight::Time => named.duration,
            Weight::Bytes => named.bytes.relocated(),
        };
        self.key.clear();
        self.key.extend([named.origin.id, named.site.id]);
        self.key.extend(named.stack.iter().map(|place| place.id));
        if let Some((_, sum)) = self.seen.get_mut(&self.key) {
            *sum = sum.saturating_add(weight);
            return Ok(());
        }
        if self.seen.len() >= MOST_STACKS {
            self.merge_equal();
        }
        let frames: Vec<String> =
            stack(named).iter().map(|frame| frame.replace(';', ":").replace('\n', " ")).collect();
        self.seen.insert(self.key.clone(), (frames.join(";"), weight));
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.merge_equal();
        for (stack, weight) in &self.stacks {
            writeln!(self.out, "{stack} {weight}")?;
        }
        self.out.commit()
    }
}
