//! The process that runs cases, each in a forked child. It does not know whether the preload
//! library is loaded.
//!
//! It reads lines: `seeds FIRST COUNT`, or `case JSON`. For each case it writes a number of words,
//! and the words of an [`Observation`](crate::observation::Observation).

mod features;
pub mod layout;
mod observe;
mod resources;
mod smaps;
pub mod sys;

use std::io::{self, BufRead as _, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::case::{Case, Features};
use crate::generate;
use crate::observation::Words;
use crate::sandbox::Sandbox;
use observe::Observer;
pub use resources::Resources;

/// Limit of one case, in words.
const MAX_WORDS: usize = 1 << 20;

/// Finds the supported features in a child, which may mount without affecting this process.
pub fn probe_in_child(scratch: Option<&Path>) -> Result<Features> {
    let mut shared = sys::SharedWords::new(2)?;
    sys::in_child(|| {
        shared.append(&[u64::from(features::of(&Resources::create(scratch)).0)]);
        0
    })?;
    Ok(Features(shared.written().first().map_or(0, |&features| features as u32)))
}

/// Runs cases until standard input ends.
pub fn run(scratch: &Path, seed: u64, features: Features, sandbox: Sandbox) -> Result<()> {
    sys::reexec_until_stack_is_low();
    sys::let_alarms_interrupt_waitpid();
    let mut runner = Runner::new(scratch, sandbox)?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line.context("the driver's line cannot be read")?;
        match line.split_once(' ') {
            Some(("seeds", numbers)) => {
                let (first, count) =
                    numbers.split_once(' ').context("seeds: expected two numbers")?;
                let first: u64 = first.parse()?;
                for number in first..first + count.parse::<u64>()? {
                    write_words(&mut out, &runner.run(&generate::case(seed, number, features))?)?;
                }
            }
            Some(("case", json)) => {
                let case = serde_json::from_str(json).context("not a case")?;
                write_words(&mut out, &runner.run(&case)?)?;
            }
            _ => bail!("unknown line {line:?}"),
        }
        out.flush()?;
    }
    Ok(())
}

fn write_words(out: &mut impl Write, words: &Words) -> Result<()> {
    out.write_all(&(words.len() as u64).to_ne_bytes())?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(out.write_all(&bytes)?)
}

/// Runs cases one by one.
pub struct Runner {
    resources: Resources,
    shared: sys::SharedWords,
    sandbox: Sandbox,
}

impl Runner {
    /// Creates its files in the scratch directory. `Sandbox::NoProc` unmounts `/proc` for good.
    pub fn new(scratch: &Path, sandbox: Sandbox) -> Result<Self> {
        let resources = Resources::create(Some(scratch));
        anyhow::ensure!(resources.proc >= 0, "/proc: cannot be opened");
        if sandbox == Sandbox::NoProc {
            sys::unmount_proc()?;
        }
        Ok(Self { resources, shared: sys::SharedWords::new(MAX_WORDS)?, sandbox })
    }

    /// Runs a case in a child and returns the words of its observation.
    pub fn run(&mut self, case: &Case) -> Result<Words> {
        self.shared.clear();
        let (resources, shared, sandbox) = (&self.resources, &mut self.shared, self.sandbox);
        let requests = |shared: &mut _| requests(case, resources.proc, sandbox, shared);
        let status = sys::in_child(|| {
            layout::build(case, resources);
            if case.forked {
                // This process keeps the layout's pages, so that they stay shared until written.
                return sys::in_child(|| requests(shared)).unwrap_or(-1);
            }
            requests(shared)
        })?;
        let mut words = vec![status as u32 as u64];
        words.extend_from_slice(self.shared.written());
        Ok(words)
    }
}

/// Makes the requests and observes the state around each. Returns the child's exit status.
fn requests(case: &Case, proc: i32, sandbox: Sandbox, out: &mut sys::SharedWords) -> i32 {
    let Some(mut observer) = Observer::open(proc) else {
        return 3;
    };

    observer.observe(None, out);
    let is_confined = match sandbox {
        Sandbox::None | Sandbox::NoProc => true,
        Sandbox::NoDescriptors => sys::fill_descriptor_table(),
        Sandbox::Seccomp => sys::filter_system_calls(),
    };
    if !is_confined {
        return 4;
    }
    for request in &case.requests {
        let (result, errno) = sys::mremap(request);
        observer.observe(Some((request, result, errno)), out);
    }
    0
}
