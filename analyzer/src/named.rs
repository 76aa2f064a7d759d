//! Events with process, times and call sites resolved, independent of files and symbols: they can
//! be sent to another thread.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::load::{Candidate, Clock, CodeAddress, Index, Process, Traces, in_order};
use crate::model::{Event, Filter, Why};
use crate::stats::Bytes;
use crate::symbols::{Site, Symbols, inner_frames};

/// The process of an event.
pub struct Origin {
    /// Index of the process.
    pub id: usize,
    /// Process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// Executable.
    pub exe: String,
    /// Kernel release.
    pub kernel: String,
    clock: Clock,
}

impl Origin {
    /// Converts ticks to nanoseconds.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        self.clock.nanoseconds(ticks)
    }
}

/// A call site with its texts.
pub struct NamedPlace {
    /// Number in the order in which call sites were met.
    pub id: usize,
    /// Name in one line.
    pub name: String,
    /// `module+0xoffset`.
    pub place: String,
    /// The call site.
    pub site: Arc<Site>,
}

/// An event with everything resolved.
pub struct Named {
    /// The event.
    pub event: Event,
    /// Its process.
    pub origin: Arc<Origin>,
    /// Wall clock, nanoseconds since 1970.
    pub wall_clock: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub monotonic: u64,
    /// Nanoseconds since the trace's start.
    pub since_start: u64,
    /// Duration of the call, in ns.
    pub duration: u64,
    /// Bytes requested, relocated and grown in place.
    pub bytes: Bytes,
    /// Why it failed, if it did.
    pub why: Option<Why>,
    /// The call site: the first frame outside libc and allocators.
    pub site: Arc<NamedPlace>,
    /// The frames below it, those of libc and of allocators, innermost first.
    pub inner: Vec<Arc<NamedPlace>>,
    /// The frames above it, innermost first; empty if stacks were not recorded.
    pub stack: Vec<Arc<NamedPlace>>,
}

impl Named {
    /// Whether the call site matches `--site`, for events that are named before they are filtered.
    pub fn passes_site(&self, filter: &Filter) -> bool {
        let wanted = filter.site.as_ref();
        wanted.is_none_or(|text| self.site.site.matches(text))
    }
}

/// Resolves events.
pub struct Namer<'a> {
    symbols: &'a Symbols,
    origins: Vec<Option<Arc<Origin>>>,
    /// By process, address, and the address of the outermost frame of an allocator.
    places: HashMap<(usize, CodeAddress, Option<CodeAddress>), Arc<NamedPlace>>,
}

impl<'a> Namer<'a> {
    /// Makes a namer.
    pub fn new(symbols: &'a Symbols) -> Self {
        Self { symbols, origins: Vec::new(), places: HashMap::new() }
    }

    /// Resolves an event.
    pub fn name(&mut self, process: &Process, event: Event) -> Named {
        let process_index = event.process;
        let ticks = event.call.ticks;
        let addresses =
            std::iter::once(event.call.caller).chain(self.symbols.frames(process, &event));
        let codes: Vec<_> = addresses.map(|address| process.code_at(address, ticks)).collect();
        let sites: Vec<_> =
            codes.iter().map(|code| self.symbols.site(process, process_index, *code)).collect();
        let (inner, outer) = codes.split_at(inner_frames(sites.iter().map(Arc::as_ref)));
        let via = inner.last().copied();
        let caller = outer.first().copied().unwrap_or(CodeAddress { address: 0, module: 0 });
        Named {
            origin: self.origin(process, process_index),
            wall_clock: process.wall_clock(ticks),
            monotonic: process.monotonic(ticks),
            since_start: process.since_start(ticks),
            duration: process.nanoseconds(event.call.duration),
            bytes: Bytes::of(&event.call, process.header.page_size, event.summary.as_ref()),
            why: Why::of(&event.call, &process.header),
            site: self.place(process, process_index, caller, via),
            inner: inner
                .iter()
                .map(|code| self.place(process, process_index, *code, None))
                .collect(),
            stack: outer
                .iter()
                .skip(1)
                .map(|it| self.place(process, process_index, *it, None))
                .collect(),
            event,
        }
    }

    fn origin(&mut self, process: &Process, process_index: usize) -> Arc<Origin> {
        if let Some(Some(origin)) = self.origins.get(process_index) {
            return Arc::clone(origin);
        }
        let origin = Arc::new(Origin {
            id: process_index,
            pid: process.header.pid,
            host: process.host.clone(),
            exe: process.exe.clone(),
            kernel: process.kernel.clone(),
            clock: process.clock(),
        });
        if self.origins.len() <= process_index {
            self.origins.resize_with(process_index + 1, || None);
        }
        if let Some(place) = self.origins.get_mut(process_index) {
            *place = Some(Arc::clone(&origin));
        }
        origin
    }

    fn place(
        &mut self,
        process: &Process,
        process_index: usize,
        code: CodeAddress,
        via: Option<CodeAddress>,
    ) -> Arc<NamedPlace> {
        let id = self.places.len();
        let place = self.places.entry((process_index, code, via)).or_insert_with(|| {
            let mut site = self.symbols.site(process, process_index, code);
            if let Some(via) = via {
                let inner = self.symbols.site(process, process_index, via);
                Arc::make_mut(&mut site).via = Some(inner.function());
            }
            Arc::new(NamedPlace { id, name: site.name(), place: site.place(), site })
        });
        Arc::clone(place)
    }
}

/// Returns the names of the call sites of some events, by their numbers.
pub fn sites_of_events(
    traces: &Traces,
    index: &Index,
    numbers: &BTreeSet<u64>,
    symbols: &Symbols,
) -> BTreeMap<u64, String> {
    let mut sites = BTreeMap::new();
    let Some(last) = numbers.last() else { return sites };
    let mut namer = Namer::new(symbols);
    let wanted = |candidate: &Candidate<'_>| numbers.contains(&candidate.number);
    // The callback returns no error.
    let _ = in_order(traces, index, wanted, |process, event| {
        let number = event.number;
        sites.insert(number, namer.name(process, event).site.name.clone());
        Ok(if number < *last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    sites
}
