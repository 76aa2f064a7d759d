//! Reads words of a stopped thread's stack, from which the analyzer unwinds it by unwind tables.
//! Following frame pointers would end at the first function without one, as in glibc.

use mremap_plan::Range;
use mremap_trace::StackWords;

use crate::arch::Registers;
use crate::ptrace::{Pid, read_memory};

/// Bytes of stack that are read, in steps, up to the first that is unreadable.
const WINDOW: u64 = 16 << 10;
const STEP: usize = 4096;
/// Entries recorded for each frame wanted: saved registers and return addresses.
const ENTRIES_PER_FRAME: usize = 4;

/// Returns the list of entries that `trace/FORMAT.md` describes: stack pointer, frame pointer, then
/// those words of the stack that point into it or into `code`.
pub(super) fn entries(thread: Pid, registers: &Registers, depth: u16, code: &[Range]) -> Vec<u64> {
    let stack_pointer = registers.stack_pointer();
    let mut entries =
        vec![StackWords::entry(0, stack_pointer), StackWords::entry(0, registers.frame_pointer())];
    let max = entries.len() + usize::from(depth) * ENTRIES_PER_FRAME;
    let stack = Range { start: stack_pointer, end: stack_pointer.saturating_add(WINDOW) };
    let mut distance = 0u64;
    for word in words(thread, stack) {
        let is_kept = stack.contains(word) || code.iter().any(|range| range.contains(word));
        if is_kept {
            while distance > u64::from(StackWords::LONGEST) {
                entries.push(StackWords::entry(StackWords::LONGEST, 0));
                distance -= u64::from(StackWords::LONGEST);
            }
            entries.push(StackWords::entry(distance as u8, word));
            distance = 0;
        }
        if entries.len() >= max {
            break;
        }
        distance += 1;
    }
    entries
}

/// The words of the stack, up to the first page that cannot be read.
fn words(thread: Pid, stack: Range) -> Vec<u64> {
    let mut words = Vec::new();
    let mut start = stack.start;
    while start < stack.end {
        let end = (start + 1).next_multiple_of(STEP as u64).min(stack.end);
        let mut bytes = vec![0; (end - start) as usize];
        if !read_memory(thread, start, &mut bytes) {
            break;
        }
        words.extend(bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)));
        start = end;
    }
    words
}
