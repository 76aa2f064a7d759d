//! The bytes of a trace file. It is read, not mapped: a file that shrinks under a mapping kills its
//! reader.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE};
use rustix::fs::SeekFrom;

use super::files::open_regular;

/// Device and inode of a file.
pub type FileId = (u64, u64);

/// A trace file. Of thousands, only some stay open; the others are opened again for each read.
pub struct Source {
    path: PathBuf,
    id: FileId,
    file: Option<File>,
}

/// Returns the offset of the chunk at a position.
pub fn chunk_offset(place: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(place) * CHUNK_SIZE as u64
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of [`open_regular`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_regular(path)?;
        Ok(Self { path: path.to_owned(), id: id_of(&file)?, file: Some(file) })
    }

    /// Returns device and inode.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Closes the file until it is read again.
    pub fn close(&mut self) {
        self.file = None;
    }

    fn with<T>(&self, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        if let Some(file) = &self.file {
            return read(file);
        }
        let file = open_regular(&self.path)?;
        if id_of(&file)? != self.id {
            return Err(io::Error::other("the file was replaced while it was read"));
        }
        read(&file)
    }

    /// Returns the current length in bytes; 0 if it is unknown.
    pub fn len(&self) -> u64 {
        self.with(File::metadata).map_or(0, |metadata| metadata.len())
    }

    /// Fills `bytes` from `offset` on, as far as the file goes, and returns the number of bytes
    /// read.
    ///
    /// # Errors
    /// Those of `pread`, and of opening the file again.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.with(|file| {
            let mut filled = 0;
            while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, offset.saturating_add(filled as u64)) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        })
    }

    /// Returns the chunk at a position; fewer bytes if the file ends in it, none if it cannot be
    /// read.
    pub fn chunk(&self, place: u32) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_SIZE];
        let read = self.read(chunk_offset(place), &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// Returns the first offset from `offset` on that is not in a hole; `None` if only a hole
    /// follows.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        let seek = |file: &File| match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        };
        // A file system without holes, or a file that cannot be opened: reading it will show.
        self.with(seek).unwrap_or(Some(offset))
    }
}

fn id_of(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
