//! The bytes of a trace file. It is read, not mapped: a file that shrinks under a mapping kills its
//! reader.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mremap_trace::layout::{CHUNK_SIZE, HEADER_SIZE};
use rustix::fs::SeekFrom;

use super::files::open_regular;
use super::pack::MAGIC;

/// Device and inode of a file.
pub type FileId = (u64, u64);

/// A trace file. Of thousands, only some stay open; the others are opened again for each read.
pub struct Source {
    path: PathBuf,
    id: FileId,
    file: Option<File>,
    packed: Option<Window>,
}

/// The bytes of a trace in an expanded pack.
struct Window {
    file: Arc<File>,
    start: u64,
    len: u64,
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
        Ok(Self { path: path.to_owned(), id: id_of(&file)?, file: Some(file), packed: None })
    }

    /// Makes a source of a part of an expanded pack.
    pub fn packed(path: PathBuf, file: Arc<File>, start: u64, len: u64) -> Self {
        let packed = Some(Window { file, start, len });
        Self { path, id: FileId::default(), file: None, packed }
    }

    /// Returns the file if it is a pack.
    pub fn into_pack(mut self) -> Result<File, Self> {
        let mut magic = [0; MAGIC.len()];
        let read = self.read(0, &mut magic);
        let is_pack = read.is_ok_and(|read| read == MAGIC.len()) && magic == MAGIC;
        self.file.take_if(|_| is_pack).ok_or(self)
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
        let packed = self.packed.as_ref().map(|window| window.file.as_ref());
        if let Some(file) = self.file.as_ref().or(packed) {
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
        let len = || self.with(File::metadata).map_or(0, |metadata| metadata.len());
        self.packed.as_ref().map_or_else(len, |window| window.len)
    }

    /// Returns where the trace's bytes start in the file.
    fn start(&self) -> u64 {
        self.packed.as_ref().map_or(0, |window| window.start)
    }

    /// Fills `bytes` from `offset` on, as far as the file goes, and returns the number of bytes
    /// read.
    ///
    /// # Errors
    /// Those of `pread`, and of opening the file again.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let bytes = match &self.packed {
            Some(window) => {
                let rest = window.len.saturating_sub(offset).min(bytes.len() as u64);
                bytes.get_mut(..rest as usize).unwrap_or_default()
            }
            None => bytes,
        };
        let offset = offset.saturating_add(self.start());
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
        let start = self.start();
        let from = offset.saturating_add(start);
        let seek = |file: &File| match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Ok(data) => Ok(Some(data.saturating_sub(start))),
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
