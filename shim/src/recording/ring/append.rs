//! Appends records: one, or one with its text.

use core::sync::atomic::Ordering;

use mremap_trace::{Level, Message, Module, Record, layout};

use super::chunk::Claim;
use super::claims::{claim, set_up_opener};
use super::file;
use super::state::{PINNED, is_wanted, positions};
use crate::process::config::TraceSettings;
use crate::recording::identity;

/// Appends one record.
pub(crate) fn append(record: &Record) {
    if let Ok(claim) = claim(1) {
        claim.store(0, record);
    }
}

/// Appends one record, encoded.
pub(crate) fn append_words(words: &[u64; layout::SLOT_WORDS]) {
    if let Ok(claim) = claim(1) {
        claim.store_words(0, words);
    }
}

/// Opens the trace of this process. At load.
///
/// # Errors
/// Why there will be no trace.
pub(crate) fn open(settings: &TraceSettings<'_>) -> Result<(), file::OpenError> {
    file::open(settings)?;
    append_loaded_modules();
    Ok(())
}

/// Appends the modules that were loaded with the program, by the thread that opened the trace.
pub(super) fn append_loaded_modules() {
    set_up_opener();
    for (module, path) in identity::modules() {
        append_module(module, path);
    }
}

/// Appends a module and its path, and pins their chunk: without them, addresses have no names.
pub(crate) fn append_module(module: Module, path: &[u8]) {
    let claim = append_with_text(path, |path_len| Record::Module(Module { path_len, ..module }));
    if let Some(claim) = claim
        && PINNED.fetch_add(1, Ordering::Relaxed) < positions() / 2
    {
        claim.pin();
    }
}

/// Appends a diagnostic message, if there is a trace.
pub(crate) fn append_message(level: Level, ticks: u64, text: &[u8]) {
    if is_wanted() {
        append_with_text(text, |text_len| Record::Message(Message { level, text_len, ticks }));
    }
}

/// Appends a record and its text, which is cut if one chunk could not hold it.
fn append_with_text(text: &[u8], record: impl Fn(u32) -> Record) -> Option<Claim> {
    const MAX_SLOTS: usize = 40;
    let text = text.get(..MAX_SLOTS * layout::TEXT_PER_SLOT).unwrap_or(text);
    let slots = 1 + text.len().div_ceil(layout::TEXT_PER_SLOT);
    let claim = claim(slots as u32).ok()?;
    for (index, bytes) in text.chunks(layout::TEXT_PER_SLOT).enumerate() {
        let mut filled = [0; layout::TEXT_PER_SLOT];
        for (to, from) in filled.iter_mut().zip(bytes) {
            *to = *from;
        }
        claim.store(1 + index, &Record::Text(filled));
    }
    claim.store(0, &record(text.len() as u32));
    Some(claim)
}
