//! Offsets and sizes of the format.
//!
//! ```text
//!  0            16 KiB       20 KiB       24 KiB
//!  |  header    |  chunk 0   |  chunk 1   | ...
//!               |slot 0: chunk header|slot 1|slot 2| ... |slot 63|
//! ```

/// First eight bytes of every trace.
pub const MAGIC: [u8; 8] = *b"MREMAPTR";
/// The version of a trace in which every chunk is filled by one thread.
pub const VERSION: u32 = 1;
/// The version of a trace that has a chunk shared by threads. Nothing else differs.
pub const VERSION_SHARED: u32 = 2;
/// Stored in the recording machine's byte order, which it shows.
pub const BYTE_ORDER: u32 = 0x0102_0304;
/// Bytes before the first chunk.
pub const HEADER_SIZE: usize = 16 * 1024;
/// Bytes of a chunk.
pub const CHUNK_SIZE: usize = 4096;
/// Bytes of a slot. A passed-through call takes one.
pub const SLOT_SIZE: usize = 64;
/// Slots of a chunk, its header (slot 0) included.
pub const SLOTS_PER_CHUNK: u32 = (CHUNK_SIZE / SLOT_SIZE) as u32;
/// Words of a slot. The last one holds the tag and is stored last.
pub const SLOT_WORDS: usize = SLOT_SIZE / 8;
/// Bytes of text one text slot holds.
pub const TEXT_PER_SLOT: usize = SLOT_SIZE - 8;

/// Byte offsets of the header's fields.
pub mod header {
    #![allow(missing_docs)] // the names are those of `Header`'s fields, which say what they mean
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    pub const BYTE_ORDER: usize = 12;
    pub const HEADER_SIZE: usize = 16;
    pub const CHUNK_SIZE: usize = 20;
    pub const SLOT_SIZE: usize = 24;
    pub const PAGE_SIZE: usize = 28;
    pub const CAPACITY: usize = 32;
    pub const PID: usize = 40;
    pub const PARENT_PID: usize = 44;
    pub const TICKS: usize = 48;
    pub const MONOTONIC_NS: usize = 56;
    pub const REALTIME_NS: usize = 64;
    pub const CLOCK: usize = 72;
    pub const DETAIL: usize = 76;
    pub const MODE: usize = 80;
    pub const VMA_SOURCE: usize = 84;
    pub const BOOT_ID: usize = 88;
    /// Changes while the process runs, as the LOST fields do.
    pub const CHUNKS: usize = 104;
    /// Changes once.
    pub const CAPABILITY: usize = 108;
    pub const LOST_FULL: usize = 112;
    pub const LOST_EARLY: usize = 120;
    pub const LOST_OVERWRITTEN: usize = 128;
    pub const LOST_NO_SPACE: usize = 136;
    pub const KEEP: usize = 144;
    pub const FORKED_FROM: usize = 148;
    pub const LOST_TRUNCATED: usize = 152;
    /// A later reading of the clocks: ticks, `CLOCK_MONOTONIC`, and both combined by exclusive or.
    pub const LATER_TICKS: usize = 160;
    pub const LATER_MONOTONIC_NS: usize = 168;
    pub const LATER_CHECK: usize = 176;
    /// Inode of the process's pid namespace; 0 if unknown.
    pub const PID_NAMESPACE: usize = 184;
    /// Field 22 of `/proc/PID/stat`: when the process started; 0 if unknown.
    pub const START_TIME: usize = 192;
    pub const LOST_NO_MEMORY: usize = 200;
    pub const LOST_FILTERED: usize = 208;
    /// Text fields, each with the most bytes of text it holds: a `u16` length, then the text.
    pub const SHIM_VERSION: (usize, usize) = (256, 62);
    pub const KERNEL: (usize, usize) = (320, 126);
    pub const HOST: (usize, usize) = (448, 126);
    pub const EXE: (usize, usize) = (576, 4094);
    pub const ARGV: (usize, usize) = (4672, 8190);
}

/// Byte offsets in a chunk's slot 0.
pub mod chunk {
    #![allow(missing_docs)] // the names are those of `ChunkHeader`'s fields
    pub const TID: usize = 0;
    /// A `ClaimWord`.
    pub const CLAIMS: usize = 8;
    pub const TICKS: usize = 16;
    pub const MONOTONIC_NS: usize = 24;
    pub const REALTIME_NS: usize = 32;
    pub const OVERWRITTEN: usize = 40;
    pub const OVERWRITTEN_NEXT: usize = 48;
}
