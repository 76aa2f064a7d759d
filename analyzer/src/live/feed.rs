//! A stream of events from growing traces, including traces that appear later.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::load::{self, Tail, find, is_pack, traces_in};
use crate::model::{Event, Filter};
use crate::named::{Named, Namer};

/// The traces being followed.
pub struct Feed {
    paths: Vec<PathBuf>,
    tails: Vec<Tail>,
    events: u64,
    max_open: usize,
}

impl Feed {
    /// Follows files, and every trace in directories, including later ones.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        for path in paths {
            std::fs::metadata(path)
                .with_context(|| format!("{}: cannot follow it", path.display()))?;
        }
        let files = find(paths).into_iter().filter(|file| is_pack(file)).collect::<Vec<_>>();
        let packed = load::open(&files);
        if let Some(damage) = packed.damage().first() {
            bail!("{damage}");
        }
        let tails = packed.processes.into_iter().map(Tail::of).collect();
        Ok(Self { paths: paths.to_vec(), tails, events: 0, max_open: load::raise_open_limit() })
    }

    /// Returns whether events were written since the last poll, and those that pass the filter.
    pub fn poll_named(&mut self, filter: &mut Filter, namer: &mut Namer<'_>) -> (bool, Vec<Named>) {
        let seen = self.poll();
        filter.start = self.start();
        let has_new = !seen.is_empty();
        let named = seen.into_iter().filter_map(|event| {
            let process = &self.tails.get(event.process)?.process;
            filter
                .passes(process, event.process, (event.tid, event.slot), &event.call)
                .then_some(())?;
            Some(namer.name(process, event)).filter(|named| named.passes_site(filter))
        });
        (has_new, named.collect())
    }

    /// Events written since the last poll, numbered in the order they were read.
    fn poll(&mut self) -> Vec<Event> {
        self.find_new_files();
        let mut events = Vec::new();
        for (process_index, tail) in self.tails.iter_mut().enumerate() {
            events.extend(tail.poll(process_index));
            if !tail.process.is_alive() {
                tail.process.source.close();
            }
        }
        events.sort_by_key(|event| {
            let process = self.tails.get(event.process).map(|tail| &tail.process);
            process.map_or(0, |process| process.wall_clock(event.call.ticks))
        });
        for event in &mut events {
            self.events += 1;
            event.number = self.events;
        }
        events
    }

    fn find_new_files(&mut self) {
        let files = self.paths.iter().flat_map(|path| {
            if path.is_dir() { traces_in(path) } else { find(std::slice::from_ref(path)) }
        });
        for file in files {
            if self.tails.iter().all(|tail| *tail.file() != file) {
                let Some(mut tail) = Tail::open(&file) else { continue };
                if self.tails.len() >= self.max_open {
                    tail.process.source.close();
                }
                self.tails.push(tail);
            }
        }
    }

    /// Start of the earliest trace: wall clock, nanoseconds since 1970.
    pub fn start(&self) -> u64 {
        let starts = self.tails.iter().map(|tail| tail.process.header.realtime_ns);
        starts.min().unwrap_or(0)
    }

    /// The number of processes, and how many of them are running.
    pub fn processes(&self) -> (usize, usize) {
        let alive = self.tails.iter().filter(|tail| tail.process.is_alive());
        (self.tails.len(), alive.count())
    }
}
