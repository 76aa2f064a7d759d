//! A Rust program with jemalloc as its allocator, which also replaces libc's. Threads fill and drop
//! collections and resize a mapping meanwhile; then it starts a child. Prints the results.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::thread;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const THREADS: u64 = 4;
const ROUNDS: u64 = 100_000;
const PAGE: usize = 4096;

/// A private mapping.
struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    fn new(mark: u8) -> Self {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: the kernel chooses a free address.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let mapping = Self { start: start.cast(), len: PAGE };
        // SAFETY: the first byte of a writable page.
        unsafe { mapping.start.write(mark) };
        mapping
    }

    fn resize(&mut self, len: usize) {
        // SAFETY: the whole mapping, which nothing refers to.
        let start = unsafe { libc::mremap(self.start.cast(), self.len, len, libc::MREMAP_MAYMOVE) };
        assert_ne!(start, libc::MAP_FAILED);
        *self = Self { start: start.cast(), len };
    }

    fn mark(&self) -> u8 {
        // SAFETY: the mapping is readable and has at least a page.
        unsafe { self.start.read() }
    }
}

fn work(seed: u64) -> (u64, usize, u8) {
    let mut mapping = Mapping::new(seed as u8);
    let (mut table, mut tree) = (HashMap::new(), BTreeMap::new());
    let mut state = seed * 2 + 1;
    for round in 0..ROUNDS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table.insert(state % 1000, vec![round; (state >> 32) as usize % 300]);
        tree.entry(state % 300).or_insert_with(String::new).push_str("growing ");
        if round % 100 == 0 {
            mapping.resize(PAGE * (1 + (state as usize >> 8) % 64));
            tree.clear();
        }
    }
    let sum = table.values().map(|values| values.iter().sum::<u64>()).sum();
    (sum, tree.values().map(String::len).sum(), mapping.mark())
}

fn main() {
    let threads: Vec<_> = (1..=THREADS).map(|seed| thread::spawn(move || work(seed))).collect();
    for thread in threads {
        println!("{:?}", thread.join().expect("a thread ends well"));
    }
    let child = Command::new("echo").arg("a child").status();
    println!("{}", child.expect("a child"));
}
