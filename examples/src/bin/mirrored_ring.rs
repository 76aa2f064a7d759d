//! A ring buffer whose memory is mapped twice in a row, so that a message that wraps round the end is
//! still one slice. It stands for the buffers of audio servers, packet brokers and stream parsers. The
//! ring moves to another place while messages are in it, one of them across the wrap.
//!
//! ```text
//!        memfd           |tail of it ......... head|
//!
//!        ring      |......... head|tail of it ......... head|tail of it|
//!                  |  first view  |        second view      the same memory again
//!                  |              |
//!                  |  one mremap, MAYMOVE|FIXED, both views
//!                  v              v
//!        ring      |  first view  |  second view  |
//! ```
//!
//! The two views are mappings of the same pages of one file, so the kernel cannot merge them. Moving them
//! one after the other would leave a time in which no message could be read; moving only one of them
//! would leave a ring that is no longer mirrored, which is what the checks look for.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::ExitCode;
use std::{ptr, slice};

const RING_PAGES: usize = 4;
const VIEWS: usize = 2;
/// The most messages that are in the ring at a time.
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

/// What ends the program early.
enum Failure {
    /// The system refused something: exit status 1.
    Refused { call: String, error: io::Error },
    /// The memory is not what it should be: exit status 2.
    Corrupt(String),
}

fn refused(call: &str) -> Failure {
    Failure::Refused { call: call.to_owned(), error: io::Error::last_os_error() }
}

/// The system's own words, as the C examples have them, and the remedy where there is one.
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
    // SAFETY: sysconf is a foreign function; it takes a number, returns a number and touches no memory of ours.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Messages of bytes, each preceded by its length, in a buffer that follows itself in memory.
///
/// `base` starts `VIEWS * capacity` bytes that this ring owns; `base + i` and `base + capacity + i` are the
/// same byte of the file. `read < capacity`, `used <= capacity`, and the `used` bytes from `read` on are
/// messages. No slice is ever longer than `capacity`: it would hold the same byte twice.
struct MirroredRing {
    base: *mut u8,
    capacity: usize,
    read: usize,
    used: usize,
}

/// The length that precedes a message.
const HEADER: usize = size_of::<u32>();

impl MirroredRing {
    fn new(capacity: usize) -> Result<Self, Failure> {
        let file = memory_file(capacity)?;
        let ring = Self { base: reserve(VIEWS * capacity)?, capacity, read: 0, used: 0 };
        for view in 0..VIEWS {
            // SAFETY: the kernel replaces `capacity` bytes from here, all of them inside the reservation
            // that `ring` owns and that nothing refers to yet.
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

    /// Moves both views, and whatever is in them, to other addresses.
    fn relocate(&mut self) -> Result<(), Failure> {
        let length = VIEWS * self.capacity;
        let target = reserve(length)?;
        // SAFETY: only the kernel can move a mapping. The source is ours, and `&mut self` says that no slice
        // of it is alive; the target is a reservation of the same length that was made for this.
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
            return Err(Failure::Corrupt("mremap has put the ring somewhere else".to_owned()));
        }
        Ok(())
    }

    /// Whether the messages in flight go round the end of the buffer.
    fn wraps(&self) -> bool {
        self.read + self.used > self.capacity
    }

    /// False when there is no room.
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

    /// The oldest message, in place: one slice, wherever it lies. `None` when its length cannot be right.
    fn front(&self) -> Option<&[u8]> {
        let (header, rest) = self.filled().split_first_chunk::<HEADER>()?;
        rest.get(..u32::from_ne_bytes(*header) as usize)
    }

    /// Forgets the oldest message, which is `length` bytes long.
    fn pop_front(&mut self, length: usize) {
        self.read = (self.read + HEADER + length) % self.capacity;
        self.used -= HEADER + length;
    }

    fn filled(&self) -> &[u8] {
        // SAFETY: raw memory becomes a slice here, as no collection can be mirrored. It lies within the two
        // views, since `read < capacity` and `used <= capacity`, and `&self` keeps it from changing.
        unsafe { slice::from_raw_parts(self.base.add(self.read), self.used) }
    }

    /// The `length` bytes behind the messages; the caller has seen that there are so many.
    fn room(&mut self, length: usize) -> &mut [u8] {
        assert!(self.used + length <= self.capacity, "the ring has no room for {length} bytes");
        let start = (self.read + self.used) % self.capacity;
        // SAFETY: as in `filled`: `start < capacity` and `length <= capacity` stay within the two views, and
        // `&mut self` says that this is the only slice of them.
        unsafe { slice::from_raw_parts_mut(self.base.add(start), length) }
    }

    /// Whatever is written through one view must appear in the other.
    fn expect_mirrored(&mut self) -> Result<(), Failure> {
        let length = VIEWS * self.capacity;
        let mut resident = vec![0_u8; length / page_size()];
        // SAFETY: mincore is a foreign function; it reads no memory of ours and writes one byte a page.
        if unsafe { libc::mincore(self.base.cast(), length, resident.as_mut_ptr()) } != 0 {
            return Err(Failure::Corrupt("part of the ring is not mapped".to_owned()));
        }
        for here in 0..length {
            let there = (here + self.capacity) % length;
            // SAFETY: both addresses lie within the views, which are mapped as mincore has just said, and
            // `&mut self` says that no slice of them is alive. They are one byte of the file under two
            // addresses: volatile accesses make the compiler write the one before it reads the other.
            let seen = unsafe {
                let (here, there) = (self.base.add(here), self.base.add(there));
                let kept = here.read_volatile();
                here.write_volatile(!kept);
                let seen = there.read_volatile();
                here.write_volatile(kept);
                seen == !kept && there.read_volatile() == kept
            };
            if !seen {
                let found =
                    format!("what is written at offset {here} does not appear at offset {there}");
                return Err(Failure::Corrupt(found));
            }
        }
        Ok(())
    }
}

impl Drop for MirroredRing {
    fn drop(&mut self) {
        // SAFETY: only munmap gives memory back that mmap gave. The views are ours, and nothing borrows them
        // any more. It can fail only for arguments that are no mapping, and there is nobody to tell then.
        unsafe { libc::munmap(self.base.cast(), VIEWS * self.capacity) };
    }
}

/// A file of that length without a name.
fn memory_file(length: usize) -> Result<File, Failure> {
    // SAFETY: the name is a C string that outlives the call.
    let descriptor = unsafe { libc::memfd_create(c"mirrored_ring".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor == -1 {
        return Err(refused("memfd_create"));
    }
    // SAFETY: the descriptor was opened a line ago, and nobody else knows it.
    let file = unsafe { File::from_raw_fd(descriptor) };
    file.set_len(length as u64)
        .map_err(|error| Failure::Refused { call: "ftruncate".to_owned(), error })?;
    Ok(file)
}

/// Address space of our own, so that placing something inside it hits nobody.
fn reserve(length: usize) -> Result<*mut u8, Failure> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the kernel chooses an address that is free, so no memory of anybody changes.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(refused("mmap of a reservation"));
    }
    Ok(start.cast())
}

/// Where the ring was, there must be nothing: `mincore` of a page that is not mapped fails.
fn expect_unmapped(former: *mut u8, length: usize) -> Result<(), Failure> {
    for page in 0..length / page_size() {
        let mut resident = 0_u8;
        // SAFETY: mincore is a foreign function; it looks at no memory of ours, and writes one byte for one page.
        let answer = unsafe {
            libc::mincore(former.wrapping_add(page * page_size()).cast(), 1, &raw mut resident)
        };
        if answer == 0 {
            return Err(Failure::Corrupt(format!(
                "page {page} of the ring is still at its old place"
            )));
        }
    }
    Ok(())
}

/// Numbered messages of varying lengths, which must come out as they went in and in the same order.
#[derive(Default)]
struct Traffic {
    sent: usize,
    received: usize,
}

impl Traffic {
    /// Sends `count` messages, and receives as many as it takes to keep `IN_FLIGHT` of them in the ring.
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
                "message {number} says it is longer than all that was sent"
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

/// The contents of a message follow from its number. `IN_FLIGHT` of them always fit, and nearly fill the ring.
fn message(number: usize, capacity: usize) -> Vec<u8> {
    let longest = capacity / IN_FLIGHT - HEADER;
    let length = longest - number * 37 % (longest / 8);
    (0..length).map(|i| (number * 131 + i * 7 + (i >> 8)) as u8).collect()
}
