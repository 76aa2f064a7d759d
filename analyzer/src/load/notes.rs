//! Records with text: modules and messages. Their number is bounded, because a damaged file can
//! claim any.

use std::ops::Range;

use mremap_trace::{Level, Message, Module, Record};

use crate::model::units::printable;

/// A module with its path.
#[derive(Clone)]
pub struct NamedModule {
    /// The record.
    pub module: Module,
    /// Its path.
    pub path: String,
}

impl NamedModule {
    /// Whether it holds an address.
    pub fn holds(&self, address: u64) -> bool {
        (self.module.start..self.module.end).contains(&address)
    }
}

/// What a message that reports an error begins with.
const ERROR: &str = "error: ";
const MAX_MODULES: usize = 16_384;
const MAX_REUSED: usize = 1_024;
const MAX_MESSAGES: usize = 1_000;
/// More text than a chunk holds.
const MAX_TEXT: usize = 4096;

/// Modules and messages of one trace.
#[derive(Default)]
pub struct Notes {
    /// Modules in the order of their records.
    pub modules: Vec<NamedModule>,
    /// Messages of the shim.
    pub messages: Vec<String>,
    /// Whether a module came after another one was unloaded.
    is_reloaded: bool,
    /// Addresses that several modules held, one after the other.
    reused: Vec<Range<u64>>,
    pending: Option<Pending>,
}

enum Owner {
    Module(Module),
    Message(Message),
}

/// A record whose text is incomplete.
struct Pending {
    owner: Owner,
    wanted: usize,
    bytes: Vec<u8>,
}

impl Notes {
    /// Whether the shim has reported an error.
    pub fn has_errors(&self) -> bool {
        self.messages.iter().any(|message| message.starts_with(ERROR))
    }

    /// Takes the next record of a chunk.
    pub fn take(&mut self, record: &Record) {
        if let Record::Text(text) = record {
            self.take_text(text);
            return;
        }
        self.end_of_text();
        let (owner, wanted) = match record {
            Record::Module(module) => (Owner::Module(*module), module.path_len),
            Record::Message(message) => (Owner::Message(*message), message.text_len),
            _ => return,
        };
        self.pending =
            Some(Pending { owner, wanted: (wanted as usize).min(MAX_TEXT), bytes: Vec::new() });
        self.take_text(&[]);
    }

    fn take_text(&mut self, piece: &[u8]) {
        let Some(pending) = &mut self.pending else { return };
        pending.bytes.extend_from_slice(piece);
        if pending.bytes.len() >= pending.wanted {
            self.end_of_text();
        }
    }

    /// Ends the text at the end of a chunk, which no text crosses.
    pub fn end_of_text(&mut self) {
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        pending.bytes.truncate(pending.wanted);
        let text = printable(&String::from_utf8_lossy(&pending.bytes));
        match pending.owner {
            Owner::Module(module) if self.modules.len() < MAX_MODULES => {
                self.push(NamedModule { module, path: text });
            }
            Owner::Message(message) if self.messages.len() < MAX_MESSAGES => {
                let level = if message.level == Level::Error { ERROR } else { "" };
                self.messages.push(format!("{level}{text}"));
            }
            _ => {}
        }
    }

    fn push(&mut self, named: NamedModule) {
        let (start, end, since) = (named.module.start, named.module.end, named.module.since);
        self.is_reloaded |= since > 0;
        if self.is_reloaded && self.reused.len() < MAX_REUSED {
            let others = self.modules.iter().map(|other| &other.module);
            let common = others
                .filter(|other| other.since != since && other.start < end && start < other.end)
                .map(|other| other.start.max(start)..other.end.min(end));
            self.reused.extend(common);
        }
        self.modules.push(named);
    }

    /// Whether several modules held an address, one after the other.
    pub fn is_reused(&self, address: u64) -> bool {
        self.reused.iter().any(|range| range.contains(&address))
    }

    /// Whether there is such an address.
    pub fn reuses_code(&self) -> bool {
        !self.reused.is_empty()
    }

    /// Appends what was found in a later part of the same file.
    pub fn append(&mut self, later: Self) {
        let room = MAX_MODULES.saturating_sub(self.modules.len());
        for named in later.modules.into_iter().take(room) {
            self.push(named);
        }
        let room = MAX_MESSAGES.saturating_sub(self.messages.len());
        self.messages.extend(later.messages.into_iter().take(room));
    }
}
