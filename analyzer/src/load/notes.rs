//! Records with text: modules and messages. Their number is bounded, because a damaged file can
//! claim any.

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

const MOST_MODULES: usize = 16_384;
const MOST_MESSAGES: usize = 1_000;
/// More text than a chunk holds.
const MOST_TEXT: usize = 4096;

/// Modules and messages of one trace.
#[derive(Default)]
pub struct Notes {
    /// Modules in the order of their records.
    pub modules: Vec<NamedModule>,
    /// Messages of the shim.
    pub messages: Vec<String>,
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
            Some(Pending { owner, wanted: (wanted as usize).min(MOST_TEXT), bytes: Vec::new() });
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
            Owner::Module(module) if self.modules.len() < MOST_MODULES => {
                self.modules.push(NamedModule { module, path: text });
            }
            Owner::Message(message) if self.messages.len() < MOST_MESSAGES => {
                let level = if message.level == Level::Error { "error: " } else { "" };
                self.messages.push(format!("{level}{text}"));
            }
            _ => {}
        }
    }

    /// Appends what was found in a later part of the same file.
    pub fn append(&mut self, later: Self) {
        let room = MOST_MODULES.saturating_sub(self.modules.len());
        self.modules.extend(later.modules.into_iter().take(room));
        let room = MOST_MESSAGES.saturating_sub(self.messages.len());
        self.messages.extend(later.messages.into_iter().take(room));
    }
}
