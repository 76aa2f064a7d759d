//! A ring buffer that is mapped twice in a row, so that a message across the end is still one
//! slice, as in audio servers, packet brokers and stream parsers. The ring moves while it contains
//! messages, one of them across the end.
//!
//! ```text
//!        memfd           |tail ............... head|
//!
//!        ring      |......... head|tail ............... head|tail ...........|
//!                  |  first view  |        second view of the same memory
//!                  |              |
//!                  |  one mremap, MAYMOVE|FIXED, both views
//!                  v              v
//!        ring      |  first view  |  second view  |
//! ```
//!
//! The two views map the same pages of one file, so the kernel cannot merge them. Moved one after
//! the other, they would not be adjacent for a moment. If only one moved, the ring would not be
//! mirrored any more, which the checks would find.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::ExitCode;
use std::{ptr, slice};

const RING_PAGES: usize = 4;
const VIEWS: usize = 2;
/// Number of messages in the ring, at most.
const IN_FLIGHT: usize = 5;
/// Enough to go round the ring several times.
const MESSAGES: usize = 100;

fn main() -> ExitCode {
    match run() {
        Ok(summary) => {
            println!("mirrored_ring: {summary}");
            ExitCode::SUCCESS
        }
        Err(Failure::Refused { call, error }) => {
            eprintln!("mirrored_ring: {call}: {}", explain(&error));
            ExitCode::from(1)
        }
        Err(Failure::Corrupt(found)) => {
            eprintln!("mirrored_ring: {found}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<String, Failure> {
    let mut ring = MirroredRing::new(RING_PAGES * page_size())?;
    let mut traffic = Traffic::default();

    traffic.pass(&mut ring, MESSAGES)?;
    while !ring.wraps() {
        traffic.pass(&mut ring, 1)?;
    }

    let former = ring.base;
    ring.relocate()?;
    ring.expect_mirrored()?;
    expect_unmapped(former, VIEWS * ring.capacity)?;

    traffic.pass(&mut ring, MESSAGES)?;
    while traffic.in_flight() > 0 {
        traffic.receive(&mut ring)?;
    }
    Ok(format!(
        "relocated {VIEWS} views of the same {RING_PAGES} pages with {IN_FLIGHT} messages in them, across the wrap"
    ))
}

/// Errors of the program.
enum Failure {
    /// A system call was refused: exit status 1.
    Refused { call: String, error: io::Error },
    /// Memory is wrong: exit status 2.
    Corrupt(String),
}

fn refused(call: &str) -> Failure {
    Failure::Refused { call: call.to_owned(), error: io::Error::last_os_error() }
}

/// The error as the C examples print it, with the remedy if there is one.
fn explain(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    if error.raw_os_error() == Some(libc::EFAULT) {
        format!("{words} (this kernel moves one VMA at a time; Linux 6.17 or newer is needed)")
    } else {
        words.to_owned()
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf takes and returns a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Messages, each preceded by its length, in a buffer that is mapped twice.
///
/// The ring owns `VIEWS * capacity` bytes at `base`; `base + i` and `base + capacity + i` are the
/// same byte of the file. `read < capacity`, `used <= capacity`, and the `used` bytes from `read`
/// on are messages. No slice is longer than `capacity`, or it would contain a byte twice.
struct MirroredRing {
    base: *mut u8,
    capacity: usize,
    read: usize,
    used: usize,
}

/// Bytes of the length before a message.
const HEADER: usize = size_of::<u32>();

impl MirroredRing {
    fn new(capacity: usize) -> Result<Self, Failure> {
        let file = memory_file(capacity)?;
        let ring = Self { base: reserve(VIEWS * capacity)?, capacity, read: 0, used: 0 };
        for view in 0..VIEWS {
            // SAFETY: the mapping replaces `capacity` bytes inside the reservation that `ring` owns
            // and that nothing refers to yet.
            let mapped = unsafe {
                libc::mmap(
                    ring.base.add(view * capacity).cast(),
                    capacity,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_FIXED,
                    file.as_raw_fd(),
                    0,
                )
            };
            if mapped == libc::MAP_FAILED {
                return Err(refused("mmap of a view"));
            }
        }
        Ok(ring)
    }

    /// Moves both views to another address.
    fn relocate(&mut self) -> Result<(), Failure> {
        let length = VIEWS * self.capacity;
        let target = reserve(length)?;
        // SAFETY: the source is ours, and by `&mut self` no slice of it is alive. The target is a
        // new reservation of the same length.
        let moved = unsafe {
            libc::mremap(
                self.base.cast(),
                length,
                length,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                target.cast::<libc::c_void>(),
            )
        };
        if moved == libc::MAP_FAILED {
            let pages = length / page_size();
            return Err(refused(&format!("mremap of {pages} pages over {VIEWS} VMAs")));
        }
        self.base = moved.cast();
        if moved != target.cast() {
            return Err(Failure::Corrupt("mremap moved the ring elsewhere".to_owned()));
        }
        Ok(())
    }

    /// Whether the messages cross the end of the buffer.
    fn wraps(&self) -> bool {
        self.read + self.used > self.capacity
    }

    /// Appends a message. Returns false if there is no room.
    fn push(&mut self, message: &[u8]) -> bool {
        let needed = HEADER + message.len();
        if self.used + needed > self.capacity {
            return false;
        }
        let (header, payload) = self.room(needed).split_at_mut(HEADER);
        header.copy_from_slice(&(message.len() as u32).to_ne_bytes());
        payload.copy_from_slice(message);
        self.used += needed;
        true
    }

    /// The oldest message, as one slice. `None` if its length is impossible.
    fn front(&self) -> Option<&[u8]> {
        let (header, rest) = self.filled().split_first_chunk::<HEADER>()?;
        rest.get(..u32::from_ne_bytes(*header) as usize)
    }

    /// Removes the oldest message, which is `length` bytes long.
    fn pop_front(&mut self, length: usize) {
        self.read = (self.read + HEADER + length) % self.capacity;
        self.used -= HEADER + length;
    }

    fn filled(&self) -> &[u8] {
        // SAFETY: the bytes are within the two views, since `read < capacity` and `used <=
        // capacity`, and `&self` keeps them from changing.
        unsafe { slice::from_raw_parts(self.base.add(self.read), self.used) }
    }

    /// The `length` free bytes after the messages.
    fn room(&mut self, length: usize) -> &mut [u8] {
        assert!(self.used + length <= self.capacity, "the ring has no room for {length} bytes");
        let start = (self.read + self.used) % self.capacity;
        // SAFETY: the bytes are within the two views, since `start < capacity` and `length <=
        // capacity`, and by `&mut self` this is the only slice of them.
        unsafe { slice::from_raw_parts_mut(self.base.add(start), length) }
    }

    /// Checks that writes through one view appear in the other.
    fn expect_mirrored(&mut self) -> Result<(), Failure> {
        let length = VIEWS * self.capacity;
        let mut resident = vec![0_u8; length / page_size()];
        // SAFETY: mincore writes one byte a page to `resident`, which has as many.
        if unsafe { libc::mincore(self.base.cast(), length, resident.as_mut_ptr()) } != 0 {
            return Err(Failure::Corrupt("part of the ring is not mapped".to_owned()));
        }
        for here in 0..length {
            let there = (here + self.capacity) % length;
            // SAFETY: both addresses are within the mapped views, and by `&mut self` no slice of
            // them is alive. They are the same byte of the file, so volatile accesses keep the
            // compiler from reordering them.
            let seen = unsafe {
                let (here, there) = (self.base.add(here), self.base.add(there));
                let kept = here.read_volatile();
                here.write_volatile(!kept);
                let seen = there.read_volatile();
                here.write_volatile(kept);
                seen == !kept && there.read_volatile() == kept
            };
            if !seen {
                let found = format!("a write at offset {here} does not appear at offset {there}");
                return Err(Failure::Corrupt(found));
            }
        }
        Ok(())
    }
}

impl Drop for MirroredRing {
    fn drop(&mut self) {
        // SAFETY: the views are ours, and nothing borrows them any more.
        unsafe { libc::munmap(self.base.cast(), VIEWS * self.capacity) };
    }
}

/// Creates a memfd of this length.
fn memory_file(length: usize) -> Result<File, Failure> {
    // SAFETY: the name is a C string that outlives the call.
    let descriptor = unsafe { libc::memfd_create(c"mirrored_ring".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor == -1 {
        return Err(refused("memfd_create"));
    }
    // SAFETY: the descriptor was just opened and has no other owner.
    let file = unsafe { File::from_raw_fd(descriptor) };
    file.set_len(length as u64)
        .map_err(|error| Failure::Refused { call: "ftruncate".to_owned(), error })?;
    Ok(file)
}

/// Reserves address space, so that mappings placed inside replace nothing else.
fn reserve(length: usize) -> Result<*mut u8, Failure> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the kernel chooses a free address, so no other memory changes.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(refused("mmap of a reservation"));
    }
    Ok(start.cast())
}

/// Checks that the ring's old range is unmapped: there `mincore` fails.
fn expect_unmapped(former: *mut u8, length: usize) -> Result<(), Failure> {
    for page in 0..length / page_size() {
        let mut resident = 0_u8;
        // SAFETY: mincore writes one byte for one page.
        let answer = unsafe {
            libc::mincore(former.wrapping_add(page * page_size()).cast(), 1, &raw mut resident)
        };
        if answer == 0 {
            return Err(Failure::Corrupt(format!("page {page} of the old ring is still mapped")));
        }
    }
    Ok(())
}

/// Numbered messages of varying lengths, received in the order in which they were sent.
#[derive(Default)]
struct Traffic {
    sent: usize,
    received: usize,
}

impl Traffic {
    /// Sends `count` messages, and receives so many that at most `IN_FLIGHT` are in the ring.
    fn pass(&mut self, ring: &mut MirroredRing, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            if self.in_flight() == IN_FLIGHT {
                self.receive(ring)?;
            }
            self.send(ring)?;
        }
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.sent - self.received
    }

    fn send(&mut self, ring: &mut MirroredRing) -> Result<(), Failure> {
        if !ring.push(&message(self.sent, ring.capacity)) {
            return Err(Failure::Corrupt(format!("no room for message {} in the ring", self.sent)));
        }
        self.sent += 1;
        Ok(())
    }

    fn receive(&mut self, ring: &mut MirroredRing) -> Result<(), Failure> {
        let number = self.received;
        let wanted = message(number, ring.capacity);
        let Some(found) = ring.front() else {
            return Err(Failure::Corrupt(format!(
                "message {number} is longer than everything in the ring"
            )));
        };
        if found.len() != wanted.len() {
            let (found, wanted) = (found.len(), wanted.len());
            return Err(Failure::Corrupt(format!(
                "message {number} is {found} bytes long instead of {wanted}"
            )));
        }
        if let Some(offset) = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted)
        {
            let (found, wanted) = (found[offset], wanted[offset]);
            let text = format!(
                "message {number} has {found:#04x} instead of {wanted:#04x} at offset {offset}"
            );
            return Err(Failure::Corrupt(text));
        }
        ring.pop_front(wanted.len());
        self.received += 1;
        Ok(())
    }
}

/// The contents of message `number`. `IN_FLIGHT` messages always fit, and nearly fill the ring.
fn message(number: usize, capacity: usize) -> Vec<u8> {
    let longest = capacity / IN_FLIGHT - HEADER;
    let length = longest - number * 37 % (longest / 8);
    (0..length).map(|i| (number * 131 + i * 7 + (i >> 8)) as u8).collect()
}
