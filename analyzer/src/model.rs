//! Records into what people ask about: processes, their events in time, the modules their callers lie in.

use std::collections::HashMap;
use std::path::Path;

use mremap_trace::{Call, ChunkHeader, Gap, Header, HeaderText, Module, Outcome, Part, Record, Summary};

/// A call with all that was recorded about it.
pub struct Event {
    /// Place in the trace by time, from 1.
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
    ns_per_tick: f64,
}

impl Process {
    /// A number of clock ticks in nanoseconds.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        (ticks as f64 * self.ns_per_tick) as u64
    }

    /// Nanoseconds from the trace's start to a moment.
    pub fn since_start(&self, ticks: u64) -> u64 {
        self.nanoseconds(ticks.saturating_sub(self.header.ticks))
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
                format!("{name}+{:#x}", address - named.module.start + named.module.offset)
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

/// `EFAULT` for 14, and so on for what mremap answers.
pub fn errno_name(errno: u32) -> String {
    match errno {
        1 => "EPERM".to_owned(),
        11 => "EAGAIN".to_owned(),
        12 => "ENOMEM".to_owned(),
        14 => "EFAULT".to_owned(),
        22 => "EINVAL".to_owned(),
        other => format!("errno {other}"),
    }
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

    /// No text runs over the end of a chunk.
    pub fn end_chunk(&mut self) {
        self.text = None;
    }

    /// Takes one record.
    pub fn take(&mut self, slot: u64, record: Record) {
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
            Record::Padding => {}
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
        pending.bytes.truncate(pending.wanted);
        let text = String::from_utf8_lossy(&pending.bytes).into_owned();
        match pending.owner {
            Owner::Module(module) => self.process.modules.push(NamedModule { module, path: text }),
            Owner::Message => self.process.messages.push(text),
        }
        self.text = None;
    }

    /// Puts calls, parts and gaps together, in the order of time.
    pub fn finish(mut self) -> Process {
        let header = self.process.header;
        let (ticks, ns) = (
            self.last_clock.0.wrapping_sub(header.ticks),
            self.last_clock.1.wrapping_sub(header.monotonic_ns),
        );
        self.process.ns_per_tick = match (header.clock, ticks) {
            (2, _) | (_, 0) => 1.0,
            _ => ns as f64 / ticks as f64,
        };
        self.process.events.sort_by_key(|event| event.call.ticks);
        for (index, event) in self.process.events.iter_mut().enumerate() {
            event.number = index + 1;
            event.parts = self.parts.remove(&event.slot).unwrap_or_default();
            event.gaps = self.gaps.remove(&event.slot).unwrap_or_default();
            event.summary = self.summaries.remove(&event.slot);
        }
        self.process
    }
}
