//! Records into what people ask about: processes, their events in time, the modules their callers lie in.

use std::collections::HashMap;
use std::path::Path;

use mremap_trace::{Call, ChunkHeader, Gap, Header, HeaderText, Module, Outcome, Part, Record, Summary};

/// A call with all that was recorded about it.
pub struct Event {
    /// Place by wall clock among all events of all processes read, from 1.
    pub number: usize,
    /// Thread that called.
    pub tid: u32,
    /// The call.
    pub call: Call,
    /// Parts, in address order.
    pub parts: Vec<Part>,
    /// Gaps, in address order.
    pub gaps: Vec<Gap>,
    /// Totals of the move, where it was taken apart.
    pub summary: Option<Summary>,
    slot: u64,
}

impl Event {
    /// Where an address of the source goes.
    pub fn target(&self, address: u64) -> u64 {
        self.call.new.wrapping_add(address.wrapping_sub(self.call.old))
    }
}

/// A module and its path.
pub struct NamedModule {
    /// Where it was loaded.
    pub module: Module,
    /// Its path.
    pub path: String,
}

/// One trace file.
pub struct Process {
    /// Its header.
    pub header: Header,
    /// Executable.
    pub exe: String,
    /// Arguments, joined by spaces.
    pub command_line: String,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub host: String,
    /// Version of the shim.
    pub shim_version: String,
    /// Calls, by time.
    pub events: Vec<Event>,
    /// Modules.
    pub modules: Vec<NamedModule>,
    /// What the shim said of itself.
    pub messages: Vec<String>,
    /// Why times are doubtful, where they are.
    pub clock_note: Option<String>,
    ns_per_tick: f64,
}

/// Slowest and fastest believable counter, in nanoseconds a tick: 10 MHz and 50 GHz.
const BELIEVABLE_TICK: std::ops::RangeInclusive<f64> = 0.02..=100.0;

impl Process {
    /// A number of clock ticks in nanoseconds.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        (ticks as f64 * self.ns_per_tick) as u64
    }

    /// Nanoseconds from the trace's start to a moment.
    pub fn since_start(&self, ticks: u64) -> u64 {
        self.nanoseconds(ticks.saturating_sub(self.header.ticks))
    }

    /// `CLOCK_MONOTONIC` at a moment, nanoseconds.
    pub fn monotonic(&self, ticks: u64) -> u64 {
        self.header.monotonic_ns.saturating_add(self.since_start(ticks))
    }

    /// Wall clock of a moment, nanoseconds since 1970.
    pub fn wall_clock(&self, ticks: u64) -> u64 {
        self.header.realtime_ns.saturating_add(self.since_start(ticks))
    }

    /// `module+0xoffset` of an address, the offset being that in the file; the bare address elsewhere.
    pub fn site(&self, address: u64) -> String {
        let found = self
            .modules
            .iter()
            .find(|named| (named.module.start..named.module.end).contains(&address));
        match found {
            Some(named) => {
                let name = Path::new(&named.path)
                    .file_name()
                    .map_or(named.path.as_str(), |n| n.to_str().unwrap_or("?"));
                let offset = address
                    .wrapping_sub(named.module.start)
                    .wrapping_add(named.module.offset);
                format!("{name}+{offset:#x}")
            }
            None if address == 0 => "unknown".to_owned(),
            None => format!("{address:#x}"),
        }
    }
}

/// The outcome as people write it.
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::PassedThrough => "passed-through",
        Outcome::Native => "native",
        Outcome::OneVma => "one-vma",
        Outcome::Emulated => "emulated",
        Outcome::Refused => "refused",
        Outcome::Begun => "begun",
    }
}

/// `EFAULT` for 14, and so on for what mremap and the system calls around it answer.
pub fn errno_name(errno: u32) -> String {
    let name = match errno {
        1 => "EPERM",
        2 => "ENOENT",
        4 => "EINTR",
        9 => "EBADF",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        22 => "EINVAL",
        38 => "ENOSYS",
        95 => "EOPNOTSUPP",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}

/// `MAYMOVE|FIXED`, unknown bits in hexadecimal.
pub fn flag_names(flags: u32) -> String {
    let mut names: Vec<String> = [(1, "MAYMOVE"), (2, "FIXED"), (4, "DONTUNMAP")]
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if flags & !7 != 0 {
        names.push(format!("{:#x}", flags & !7));
    }
    if names.is_empty() {
        "0".to_owned()
    } else {
        names.join("|")
    }
}

/// `rw-p` as in maps; `?` when it is not known.
pub fn protection(bits: u8) -> String {
    if bits & 1 << 7 == 0 {
        return "?".to_owned();
    }
    let letter = |bit: u8, letter: char| if bits & 1 << bit == 0 { '-' } else { letter };
    [
        letter(0, 'r'),
        letter(1, 'w'),
        letter(2, 'x'),
        if bits & 1 << 3 == 0 { 'p' } else { 's' },
    ]
    .iter()
    .collect()
}

/// A process being put together, record by record.
pub struct Builder {
    process: Process,
    tid: u32,
    last_clock: (u64, u64),
    parts: HashMap<u64, Vec<Part>>,
    gaps: HashMap<u64, Vec<Gap>>,
    summaries: HashMap<u64, Summary>,
    text: Option<PendingText>,
}

/// A record whose text slots are still coming.
struct PendingText {
    owner: Owner,
    wanted: usize,
    bytes: Vec<u8>,
}

enum Owner {
    Module(Module),
    Message,
}

impl Builder {
    /// A process with nothing recorded yet.
    pub fn new(header: Header, text: &HeaderText<'_>) -> Self {
        let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let process = Process {
            header,
            exe: string(text.exe),
            command_line: string(text.argv).replace('\0', " ").trim_end().to_owned(),
            kernel: string(text.kernel),
            host: string(text.host),
            shim_version: string(text.shim_version),
            events: Vec::new(),
            modules: Vec::new(),
            messages: Vec::new(),
            clock_note: None,
            ns_per_tick: 1.0,
        };
        Self {
            process,
            tid: 0,
            last_clock: (header.ticks, header.monotonic_ns),
            parts: HashMap::new(),
            gaps: HashMap::new(),
            summaries: HashMap::new(),
            text: None,
        }
    }

    /// The records that follow are of this chunk.
    pub fn begin_chunk(&mut self, chunk: &ChunkHeader) {
        self.tid = chunk.tid;
        if chunk.ticks > self.last_clock.0 {
            self.last_clock = (chunk.ticks, chunk.monotonic_ns);
        }
    }

    /// No text runs over the end of a chunk: what came of it is all there is.
    pub fn end_chunk(&mut self) {
        self.finish_text();
    }

    /// Takes one record.
    pub fn take(&mut self, slot: u64, record: Record) {
        if !matches!(record, Record::Text(_)) {
            self.finish_text();
        }
        match record {
            Record::Call(call) => self.process.events.push(Event {
                number: 0,
                tid: self.tid,
                call,
                parts: Vec::new(),
                gaps: Vec::new(),
                summary: None,
                slot,
            }),
            Record::Part(part) => self.parts.entry(part.call.into()).or_default().push(part),
            Record::Gap(gap) => self.gaps.entry(gap.call.into()).or_default().push(gap),
            Record::Summary(summary) => drop(self.summaries.insert(summary.call.into(), summary)),
            Record::Module(module) => self.expect_text(Owner::Module(module), module.path_len),
            Record::Message(message) => self.expect_text(Owner::Message, message.text_len),
            Record::Text(text) => self.take_text(&text),
            Record::Stack(_) | Record::Padding => {}
        }
    }

    fn expect_text(&mut self, owner: Owner, wanted: u32) {
        self.text = Some(PendingText {
            owner,
            wanted: wanted as usize,
            bytes: Vec::new(),
        });
        self.take_text(&[]);
    }

    fn take_text(&mut self, piece: &[u8]) {
        let Some(pending) = &mut self.text else { return };
        pending.bytes.extend_from_slice(piece);
        if pending.bytes.len() < pending.wanted {
            return;
        }
        self.finish_text();
    }

    fn finish_text(&mut self) {
        let Some(mut pending) = self.text.take() else {
            return;
        };
        pending.bytes.truncate(pending.wanted);
        let text = String::from_utf8_lossy(&pending.bytes).into_owned();
        match pending.owner {
            Owner::Module(module) => self.process.modules.push(NamedModule { module, path: text }),
            Owner::Message => self.process.messages.push(text),
        }
    }

    /// Puts calls, parts and gaps together, in the order of time.
    pub fn finish(mut self) -> Process {
        self.finish_text();
        self.set_clock();
        self.process.events.sort_by_key(|event| event.call.ticks);
        for event in &mut self.process.events {
            event.parts = self.parts.remove(&event.slot).unwrap_or_default();
            event.parts.sort_by_key(|part| part.start);
            event.gaps = self.gaps.remove(&event.slot).unwrap_or_default();
            event.gaps.sort_by_key(|gap| gap.start);
            event.summary = self.summaries.remove(&event.slot);
        }
        self.process
    }

    /// A counter's rate comes from the two readings of all clocks that lie furthest apart.
    fn set_clock(&mut self) {
        let header = self.process.header;
        if header.clock == 2 {
            return;
        }
        let ticks = self.last_clock.0.wrapping_sub(header.ticks);
        let nanoseconds = self.last_clock.1.wrapping_sub(header.monotonic_ns);
        let rate = nanoseconds as f64 / ticks as f64;
        if header.clock == 1 && ticks > 0 && BELIEVABLE_TICK.contains(&rate) {
            self.process.ns_per_tick = rate;
        } else {
            self.process.clock_note = Some(format!(
                "the rate of this trace's clock (kind {}) cannot be told; a tick is taken for a nanosecond",
                header.clock
            ));
        }
    }
}

/// Numbers all events of all processes in the order of the wall clock.
pub fn number(processes: &mut [Process]) {
    let mut order: Vec<(u64, usize, usize)> = Vec::new();
    for (of, process) in processes.iter().enumerate() {
        let moments = process.events.iter().enumerate();
        order.extend(moments.map(|(at, event)| (process.wall_clock(event.call.ticks), of, at)));
    }
    order.sort_unstable();
    for (index, (_, of, at)) in order.into_iter().enumerate() {
        let event = processes
            .get_mut(of)
            .and_then(|process| process.events.get_mut(at));
        if let Some(event) = event {
            event.number = index + 1;
        }
    }
}

/// Every event with its process, in the order of their numbers.
pub fn in_order(processes: &[Process]) -> Vec<(&Process, &Event)> {
    let mut events: Vec<(&Process, &Event)> = processes
        .iter()
        .flat_map(|process| process.events.iter().map(move |event| (process, event)))
        .collect();
    events.sort_unstable_by_key(|(_, event)| event.number);
    events
}
