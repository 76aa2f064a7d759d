//! Leaves out of a pack what may identify a user: directories of paths, arguments, the host's name.

use mremap_trace::layout::{SLOT_SIZE, TEXT_PER_SLOT};
use mremap_trace::{Header, HeaderText, Record, Slot};

use crate::symbols::{Site, Unwinding};

/// Redacts a trace's header.
pub fn header(bytes: &mut [u8]) {
    let original = bytes.to_vec();
    let Ok((header, text)) = Header::decode(&original) else { return };
    let [exe, argv] = [text.exe, text.argv.split(|byte| *byte == 0).next().unwrap_or_default()];
    let text =
        HeaderText { host: b"", exe: last_component(exe), argv: last_component(argv), ..text };
    bytes.fill(0);
    header.encode(&text, bytes);
    // Fields that this version does not know, and the version, stay as they are.
    let numbers = mremap_trace::layout::header::SHIM_VERSION.0;
    if let (Some(to), Some(from)) = (bytes.get_mut(..numbers), original.get(..numbers)) {
        to.copy_from_slice(from);
    }
}

/// Redacts the paths of modules, and the paths in messages.
pub fn chunk(bytes: &mut [u8]) {
    let slots = bytes.as_chunks_mut::<SLOT_SIZE>().0;
    let mut index = 0;
    while let Some(record) = slots.get(index).map(decode) {
        let (wanted, texts) = match record {
            Some(Record::Module(module)) => (module.path_len as usize, texts(slots, index + 1)),
            Some(Record::Message(message)) => (message.text_len as usize, texts(slots, index + 1)),
            _ => {
                index += 1;
                continue;
            }
        };
        let count = texts.len() / TEXT_PER_SLOT;
        let old = texts.get(..wanted).unwrap_or(&texts);
        let mut new = match record {
            Some(Record::Module(_)) => last_component(old).to_vec(),
            _ => words(&String::from_utf8_lossy(old)).into_bytes(),
        };
        new.truncate(texts.len());
        let len = new.len() as u32;
        new.resize(texts.len(), 0);
        for (slot, piece) in slots.iter_mut().skip(index + 1).zip(new.as_chunks().0) {
            encode(&Record::Text(*piece), slot);
        }
        match (record, slots.get_mut(index)) {
            (Some(Record::Module(mut module)), Some(slot)) => {
                module.path_len = len;
                encode(&Record::Module(module), slot);
            }
            (Some(Record::Message(mut message)), Some(slot)) => {
                message.text_len = len;
                encode(&Record::Message(message), slot);
            }
            _ => {}
        }
        index += 1 + count;
    }
}

/// Redacts a call site.
pub fn site(site: &mut Site) {
    let files = site.frames.iter_mut().filter_map(|frame| frame.file.as_mut());
    for path in site.module.iter_mut().chain(files) {
        *path = name(path);
    }
    site.note = site.note.take().map(|note| words(&note));
}

/// Redacts a module.
pub fn module(module: &mut Unwinding) {
    module.path = name(&module.path);
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Redacts each word of a text as if it were a path.
fn words(text: &str) -> String {
    text.split(' ').map(name).collect::<Vec<_>>().join(" ")
}

/// Returns the text of the slots from `from` on that hold text.
fn texts(slots: &[[u8; SLOT_SIZE]], from: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for slot in slots.get(from..).unwrap_or_default() {
        let Some(Record::Text(text)) = decode(slot) else { break };
        bytes.extend_from_slice(&text);
    }
    bytes
}

fn decode(slot: &[u8; SLOT_SIZE]) -> Option<Record> {
    match Record::decode(crate::load::words(slot)) {
        Slot::Complete(record) => Some(record),
        Slot::Torn | Slot::Unknown(_) => None,
    }
}

fn encode(record: &Record, slot: &mut [u8; SLOT_SIZE]) {
    for (bytes, word) in slot.as_chunks_mut::<8>().0.iter_mut().zip(record.encode()) {
        *bytes = word.to_ne_bytes();
    }
}
