//! Records words of the stack, from which the analyzer unwinds it.
//!
//! glibc and most programs have no frame pointers. Unwind tables cannot be read here: a `dlclose`
//! in another thread may unmap one at any time. Unwinding needs only return addresses and saved
//! frame pointers, so only words that point into code or into the stack are recorded: about a
//! tenth.

use core::sync::atomic::{AtomicUsize, Ordering};

use mremap_trace::{FRAMES_PER_RECORD, Record, StackWords};

use crate::process::config;
use crate::recording::return_address::Caller;
use crate::recording::{caller_modules, identity, ring};

/// Words of the stack that are examined for each frame wanted.
const WORDS_PER_FRAME: usize = 64;
/// Code addresses recorded for each frame wanted: not every one is a return address.
const CODE_WORDS_PER_FRAME: usize = 4;

/// Appends words of the stack above a call's frame.
#[cold]
pub(super) fn append(call: u32, caller: &Caller) {
    let Some([sp, fp]) = caller.registers() else { return };
    let depth = usize::from(config::stack_depth());
    let mut packer = Packer { record: StackWords { call, ..StackWords::default() } };
    packer.push(0, sp as u64);
    packer.push(0, fp as u64);
    let end = end_of_search(sp, depth * WORDS_PER_FRAME);
    let (mut distance, mut code_words, mut follows_frame_pointer) = (0, 0, false);
    caller.words_up((end - sp) / size_of::<usize>(), |word| {
        let is_in_stack = (sp..end).contains(&word);
        let is_code = !is_in_stack && is_code(word as u64);
        // The word above a saved frame pointer is a return address, even to generated code.
        let is_generated = follows_frame_pointer && word != 0 || may_be_generated(word, sp);
        if is_in_stack || is_code || is_generated {
            packer.push(distance, word as u64);
            distance = 0;
        }
        code_words += usize::from(is_code);
        follows_frame_pointer = is_in_stack;
        distance += 1;
        code_words < depth * CODE_WORDS_PER_FRAME
    });
    packer.flush();
}

/// Where the main thread's frames end: its environment is above them.
static ENVIRONMENT: AtomicUsize = AtomicUsize::new(0);

/// Sets the address of the environment. At load.
pub(crate) fn set_environment(address: usize) {
    ENVIRONMENT.store(address, Ordering::Relaxed);
}

/// Returns the end of the words to examine: `max_words` above `sp`, or the environment.
fn end_of_search(sp: usize, max_words: usize) -> usize {
    let end = sp + max_words * size_of::<usize>();
    let environment = ENVIRONMENT.load(Ordering::Relaxed);
    if (sp..end).contains(&environment) { environment } else { end }
}

/// Whether a word may be a return address to code of a JIT compiler, as `CPython`'s trampolines,
/// which have no frame pointers. Objects are aligned; code is seldom.
fn may_be_generated(word: usize, sp: usize) -> bool {
    /// `mmap` places memory within a TiB of the main stack.
    const NEAR: usize = 1 << 41;
    !word.is_multiple_of(size_of::<usize>()) && word.abs_diff(sp) < NEAR
}

fn is_code(address: u64) -> bool {
    // Most words are small numbers.
    address > 1 << 16 && (identity::knows_code_at(address) || caller_modules::was_found(address))
}

/// Packs entries into records.
struct Packer {
    record: StackWords,
}

impl Packer {
    fn push(&mut self, mut distance: usize, value: u64) {
        while distance > usize::from(StackWords::LONGEST) {
            self.push_entry(StackWords::entry(StackWords::LONGEST, 0));
            distance -= usize::from(StackWords::LONGEST);
        }
        self.push_entry(StackWords::entry(distance as u8, value));
    }

    fn push_entry(&mut self, entry: u64) {
        if let Some(free) = self.record.entries.get_mut(usize::from(self.record.count)) {
            *free = entry;
            self.record.count += 1;
        }
        if usize::from(self.record.count) == FRAMES_PER_RECORD {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.record.count > 0 {
            ring::append(&Record::StackWords(self.record));
            self.record.first = self.record.first.wrapping_add(self.record.count);
            self.record.count = 0;
        }
    }
}
