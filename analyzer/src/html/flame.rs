//! The flame graph's tree, as JSON for the script: `[name, calls, time, relocated, children]`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Content;

/// Frames narrower than this part of every total are left out, as they could not be seen.
const NARROWEST: f64 = 0.0005;

/// A frame with its totals: calls, nanoseconds, bytes relocated.
#[derive(Default)]
struct Frame {
    totals: [u64; 3],
    children: BTreeMap<String, Self>,
}

impl Frame {
    fn add(&mut self, names: &[String], totals: [u64; 3]) {
        for (sum, more) in self.totals.iter_mut().zip(totals) {
            *sum = sum.saturating_add(more);
        }
        if let Some((first, rest)) = names.split_first() {
            self.children.entry(first.clone()).or_default().add(rest, totals);
        }
    }

    fn is_visible(&self, whole: [u64; 3]) -> bool {
        let parts = self.totals.iter().zip(whole);
        parts.into_iter().any(|(part, whole)| *part as f64 >= whole as f64 * NARROWEST && *part > 0)
    }

    fn as_json(&self, name: &str, whole: [u64; 3]) -> Value {
        let [calls, time, relocated] = self.totals;
        let children = self.children.iter().filter(|(_, frame)| frame.is_visible(whole));
        let children: Vec<Value> =
            children.map(|(name, frame)| frame.as_json(name, whole)).collect();
        json!([name, calls, time, relocated, children])
    }
}

/// The tree, by program and recorded stack. Calls without one are below their program alone.
pub fn tree(content: &mut Content<'_>) -> Value {
    let mut root = Frame::default();
    for sample in std::mem::take(&mut content.examples.stacks).finish() {
        let totals = [sample.calls, sample.time, sample.bytes.relocated()];
        root.add(&sample.names(), totals);
    }
    for (&(process_index, code), totals) in &content.examples.without_stack {
        let Some(process) = content.traces.processes.get(process_index) else { continue };
        let mut names = vec![super::tables::program(process).to_owned()];
        names.extend(content.symbols.site(process, process_index, code).stack());
        root.add(&names, *totals);
    }
    root.as_json("all calls", root.totals)
}
