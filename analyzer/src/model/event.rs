//! Events.

use mremap_plan::{AddressSpace, Flags, Request};
use mremap_trace::{Call, Gap, Part, Summary};

use super::names::{DONTUNMAP, FIXED};
use super::units::counted;

/// A call with all records that belong to it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Number by wall clock among all events of all processes, from 1.
    pub number: u64,
    /// Index of its process.
    pub process: usize,
    /// Its thread.
    pub tid: u32,
    /// The call.
    pub call: Call,
    /// Parts, in address order.
    pub parts: Vec<Part>,
    /// Gaps, in address order.
    pub gaps: Vec<Gap>,
    /// Totals of the move, if its parts were recorded.
    pub summary: Option<Summary>,
    /// Return addresses above the call's caller, innermost first.
    pub frames: Vec<u64>,
    /// Entries of the recorded words of the stack, from which the frames can be found.
    pub stack_words: Vec<u64>,
    /// File-wide slot number of the call.
    pub slot: u64,
}

impl Event {
    /// Makes an event of a call alone.
    pub fn new(number: u64, process: usize, tid: u32, call: Call) -> Self {
        Self {
            number,
            process,
            tid,
            call,
            parts: Vec::new(),
            gaps: Vec::new(),
            summary: None,
            frames: Vec::new(),
            stack_words: Vec::new(),
            slot: 0,
        }
    }

    /// Sorts parts and gaps by address.
    pub fn sort_parts_and_gaps(&mut self) {
        self.parts.sort_by_key(|part| part.start);
        self.gaps.sort_by_key(|gap| gap.start);
    }

    /// Returns `4 parts, 3 gaps` if parts were recorded.
    pub fn count_of_parts(&self) -> Option<String> {
        let (parts, gaps) = (self.parts.len() as u64, self.gaps.len() as u64);
        (parts > 0).then(|| format!("{}, {}", counted(parts, "part"), counted(gaps, "gap")))
    }

    /// Whether its stack was recorded, as frames or as words.
    pub fn has_stack(&self) -> bool {
        !self.frames.is_empty() || !self.stack_words.is_empty()
    }

    /// Returns the target of an address of the source.
    pub fn target(&self, address: u64) -> u64 {
        self.call.new.wrapping_add(address.wrapping_sub(self.call.old))
    }

    /// Whether an address is in the source.
    pub fn covers(&self, address: u64) -> bool {
        let old = self.request().without_tag().old;
        address.wrapping_sub(old) < self.call.old_len.max(1)
    }

    /// Returns the fifth argument, if the flags use it.
    pub fn new_address(&self) -> Option<u64> {
        (self.call.flags & (FIXED | DONTUNMAP) != 0).then_some(self.call.new)
    }

    /// Returns the call as a request.
    pub fn request(&self) -> Request {
        request(&self.call)
    }

    /// Returns the bytes moved, if they were counted.
    pub fn bytes_moved(&self) -> Option<u64> {
        self.summary.map(|summary| summary.bytes)
    }
}

/// Returns a call as a request.
pub fn request(call: &Call) -> Request {
    Request {
        old: call.old,
        old_len: call.old_len,
        new_len: call.new_len,
        flags: Flags(call.flags),
        new: call.new,
    }
}

/// Whether the call is a move: `MREMAP_FIXED`, and lengths that are equal once rounded to pages.
pub fn is_move(call: &Call, page_size: u32) -> bool {
    let space = AddressSpace {
        page_size: u64::from(page_size.max(1)).next_power_of_two(),
        task_size: u64::MAX,
    };
    request(call).is_move(space)
}
