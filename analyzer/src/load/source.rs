//! One file's bytes by offset. Read, never mapped: a file that shrinks under a mapping kills its
//! reader.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE};
use rustix::fs::SeekFrom;

/// An open trace file.
pub struct Source {
    file: File,
}

/// Where a chunk begins, by its place in the file.
pub fn chunk_offset(place: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(place) * CHUNK_SIZE as u64
}

impl Source {
    /// Takes an open file.
    pub fn new(file: File) -> Self {
        Self { file }
    }

    /// Its length now, bytes.
    pub fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Fills `bytes` from `offset` on, as far as the file goes; how many were read.
    ///
    /// # Errors
    /// The disk's own.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// The chunk at a place; fewer bytes where the file ends, none where it cannot be read.
    pub fn chunk(&self, place: u32) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_SIZE];
        let read = self.read(chunk_offset(place), &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// The first byte at or after `offset` that is not in a hole; `None` when only holes follow.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Some(data),
            Err(rustix::io::Errno::NXIO) => None,
            // A file system that knows no holes.
            Err(_) => Some(offset),
        }
    }
}
