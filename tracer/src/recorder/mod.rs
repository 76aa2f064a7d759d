//! Writes the calls to a trace: a file for each process image, as the preload library does
//! (`trace/FORMAT.md`).

mod clock;
mod file;
mod modules;
mod stack;

use std::os::unix::ffi::OsStrExt as _;

use mremap_plan::{Range, Request, Vma};
use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE};
use mremap_trace::{
    Capability, Clock, FRAMES_PER_RECORD, FoundBy, Gap, Header, HeaderText, Outcome, Part, Record,
    StackWords, Summary, Under, VmaSource,
};

pub(crate) use self::clock::monotonic_ns;
use self::file::{Slot, TraceFile};
use crate::arch::Registers;
use crate::call::Call;
use crate::capability::page_size;
use crate::procfs::{boot_id, pid_namespace, start_time, status_number};
use crate::ptrace::Pid;
use crate::stops::Stops;
use crate::{Settings, TraceSettings};

/// Records one process image, in a file that is created at its first call.
pub(crate) struct Recorder {
    pid: Pid,
    forked_from: Pid,
    file: Option<TraceFile>,
    /// Nothing is recorded: by the settings, or because the file could not be created.
    is_off: bool,
    modules: Vec<Range>,
    opened_ns: u64,
}

/// A call that has begun: its arguments and call site.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    call: mremap_trace::Call,
    slot: Option<Slot>,
    summary: Summary,
}

impl Begun {
    /// Begins a call. Its call site is the address after the system call instruction.
    pub(crate) fn new(request: &Request, registers: &Registers) -> Self {
        let call = mremap_trace::Call {
            outcome: Outcome::Begun,
            ticks: monotonic_ns(),
            duration: 0,
            old: request.old,
            old_len: request.old_len,
            new_len: request.new_len,
            flags: request.flags.0,
            new: request.new,
            result: 0,
            caller: registers.instruction_pointer(),
        };
        Self { call, slot: None, summary: Summary::default() }
    }

    /// Parts moved so far.
    pub(crate) fn parts(&self) -> u32 {
        self.summary.parts
    }
}

/// The settings, where threads stop, and the kernel's capability.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) stops: Stops,
    pub(crate) capability: Capability,
}

impl Recorder {
    /// A recorder for the process image of `pid`; `forked_from` is 0 after an exec.
    pub(crate) fn new(pid: Pid, forked_from: Pid, is_off: bool) -> Self {
        Self { pid, forked_from, file: None, is_off, modules: Vec::new(), opened_ns: 0 }
    }

    /// Writes the call as begun: its parts and gaps follow.
    pub(crate) fn parts_follow(&mut self, context: &Context, call: &mut Call) {
        let (thread, begun) = (call.thread, &mut call.begun);
        let record = Record::Call(begun.call);
        if let Some(file) = self.file(context, thread) {
            begun.slot = file.begin(thread, &record).ok();
            begun.summary.call = begun.slot.map_or(0, |slot| slot.index);
            begun.summary.source = FoundBy::Maps;
        }
    }

    /// Records the move of a part. `result` is an address or minus the errno.
    pub(crate) fn part(
        &mut self,
        call: &mut Call,
        part: Range,
        vma: &Vma,
        started_ns: u64,
        result: i64,
    ) {
        let begun = &mut call.begun;
        let errno = if result < 0 { result.unsigned_abs() as u32 } else { 0 };
        if errno == 0 {
            begun.summary.parts += 1;
            begun.summary.bytes += part.len();
        }
        let took = monotonic_ns().saturating_sub(started_ns);
        let record = Record::Part(Part {
            call: begun.summary.call,
            errno,
            start: part.start,
            end: part.end,
            vma_start: vma.range.start,
            vma_end: vma.range.end,
            offset: vma.offset,
            duration: u32::try_from(took).unwrap_or(u32::MAX),
            protection: protection_bits(vma),
        });
        self.append(call, &record);
    }

    /// Records a gap. `is_mapped`: something is mapped at its target, and stays.
    pub(crate) fn gap(&mut self, call: &mut Call, gap: Range, is_mapped: bool) {
        let begun = &mut call.begun;
        begun.summary.gaps += 1;
        let under = if is_mapped { Under::Mapped } else { Under::Empty };
        let record =
            Record::Gap(Gap { call: begun.summary.call, start: gap.start, end: gap.end, under });
        self.append(call, &record);
    }

    /// A thread is no more: its chunk takes no further records.
    pub(crate) fn thread_ended(&mut self, thread: Pid) {
        if let Some(file) = &mut self.file {
            file.forget(thread);
        }
    }

    /// The call has ended.
    pub(crate) fn finish(&mut self, context: &Context, call: &Call, outcome: Outcome, result: i64) {
        let &Call { thread, registers, mut begun } = call;
        begun.call.outcome = outcome;
        begun.call.result = result;
        begun.call.duration = monotonic_ns().saturating_sub(begun.call.ticks);
        let depth = context.settings.trace.as_ref().map_or(0, |trace| trace.stack_depth);
        let Some(file) = self.file(context, thread) else { return };
        let record = Record::Call(begun.call);
        let slot = match begun.slot {
            Some(slot) => {
                let _ = file.append(thread, &Record::Summary(begun.summary));
                file.end(thread, slot, &record);
                Some(slot)
            }
            None => file.append(thread, &record).ok(),
        };
        match slot {
            None => file.count_lost(),
            Some(slot) if depth > 0 => self.append_stack(thread, slot.index, depth, &registers),
            Some(_) => {}
        }
        self.record_module_of(thread, begun.call.caller);
    }

    /// The words of a call's stack, in as many records as they take.
    fn append_stack(&mut self, thread: Pid, call: u32, depth: u16, registers: &Registers) {
        let Some(file) = &mut self.file else { return };
        let entries = stack::entries(thread, registers, depth, &self.modules);
        for (index, some) in entries.chunks(FRAMES_PER_RECORD).enumerate() {
            let mut words = StackWords {
                call,
                first: (index * FRAMES_PER_RECORD) as u16,
                count: some.len() as u16,
                ..StackWords::default()
            };
            words.entries[..some.len()].copy_from_slice(some);
            let _ = file.append(thread, &Record::StackWords(words));
        }
    }

    fn append(&mut self, call: &Call, record: &Record) {
        if let Some(file) = &mut self.file
            && call.begun.slot.is_some()
        {
            let _ = file.append(call.thread, record);
        }
    }

    /// Returns the file. Creates it at the first call.
    fn file(&mut self, context: &Context, thread: Pid) -> Option<&mut TraceFile> {
        if self.file.is_none() && !self.is_off {
            self.is_off = !self.open(context, thread);
        }
        self.file.as_mut()
    }

    fn open(&mut self, context: &Context, thread: Pid) -> bool {
        let Some(trace) = &context.settings.trace else { return false };
        let exe = std::fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default();
        let base = exe.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        if !records_program(trace, &base) {
            return false;
        }
        let now = clock::now();
        self.opened_ns = now.monotonic_ns;
        let header = self.header(context, trace, now);
        let mut name = base;
        name.truncate(32);
        name.extend(format!(".{}.{}.mremap", self.pid, now.monotonic_ns).into_bytes());
        let path = trace.directory.join(std::ffi::OsStr::from_bytes(&name));
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let [kernel, host] = ["osrelease", "hostname"].map(kernel_text);
        let text = HeaderText {
            shim_version: concat!("tracer ", env!("CARGO_PKG_VERSION")).as_bytes(),
            kernel: &kernel,
            host: &host,
            exe: exe.as_os_str().as_bytes(),
            argv: &arguments,
        };
        match TraceFile::create(&path, &header, &text, trace.keep) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                eprintln!("mremap-analyzer: {}: no trace: {error}", path.display());
                return false;
            }
        }
        self.append_modules(thread);
        true
    }

    fn header(&self, context: &Context, trace: &TraceSettings, now: clock::Moment) -> Header {
        let positions = trace.size.saturating_sub(HEADER_SIZE as u64) / CHUNK_SIZE as u64;
        Header {
            page_size: page_size() as u32,
            capacity: HEADER_SIZE as u64 + positions * CHUNK_SIZE as u64,
            pid: self.pid as u32,
            parent_pid: status_number(self.pid, "PPid:").unwrap_or(0),
            pid_namespace: pid_namespace(self.pid),
            start_time: start_time(self.pid).unwrap_or(0),
            ticks: now.monotonic_ns,
            monotonic_ns: now.monotonic_ns,
            realtime_ns: now.realtime_ns,
            clock: Some(Clock::Nanoseconds),
            detail: Some(trace.detail),
            mode: Some(context.settings.mode),
            vma_source: Some(VmaSource::Maps),
            keep: Some(trace.keep),
            forked_from: self.forked_from as u32,
            boot_id: boot_id(),
            capability: Some(context.capability),
            ..Header::default()
        }
    }

    /// Records modules that were loaded since the last call, if the caller's is one of them.
    fn record_module_of(&mut self, thread: Pid, address: u64) {
        if !self.modules.iter().any(|range| range.contains(address)) {
            self.append_modules(thread);
            // An address without a module (generated code) is looked up once.
            self.modules.push(Range { start: address, end: address + 1 });
        }
    }

    fn append_modules(&mut self, thread: Pid) {
        let Some(file) = &mut self.file else { return };
        // Those of the first look were there before the trace.
        let now = monotonic_ns();
        let since = if self.modules.is_empty() { 0 } else { now.saturating_sub(self.opened_ns) };
        for found in modules::of_process(thread) {
            let range = Range { start: found.module.start, end: found.module.end };
            if self.modules.contains(&range) {
                continue;
            }
            self.modules.push(range);
            let _ = file.append_with_text(-self.pid, &found.path, |path_len| {
                Record::Module(mremap_trace::Module { path_len, since, ..found.module })
            });
            file.pin(-self.pid);
        }
    }
}

fn records_program(trace: &TraceSettings, name: &[u8]) -> bool {
    trace.programs.is_empty() || trace.programs.iter().any(|one| one.as_bytes() == name)
}

fn protection_bits(vma: &Vma) -> u8 {
    vma.protection.map_or(0, |known| {
        u8::from(known.read)
            | u8::from(known.write) << 1
            | u8::from(known.execute) << 2
            | u8::from(known.shared) << 3
            | 1 << 7
    })
}

fn kernel_text(name: &str) -> Vec<u8> {
    let text = std::fs::read(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    text.trim_ascii_end().to_vec()
}
