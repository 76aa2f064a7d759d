//! `/proc/PID/maps` of this process, read as text or by `PROCMAP_QUERY`.

use core::ffi::CStr;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU8, Ordering};

use mremap_plan::procmap::ProcmapQuery;

use crate::sys::{self, Errno, FileId, OpenFile};

/// `/proc/self` is empty once the leading thread has exited; this is not.
const MAPS: &CStr = c"/proc/thread-self/maps";
/// The same with details, for which the kernel walks page tables.
const SMAPS: &CStr = c"/proc/thread-self/smaps";

const UNTRIED: u8 = 0;
const WORKS: u8 = 1;
const FAILS: u8 = 2;
/// Whether this kernel has `PROCMAP_QUERY` (6.11), and a sandbox admits it.
static QUERY: AtomicU8 = AtomicU8::new(UNTRIED);

/// Whether it is worth opening `maps` for a query.
pub(crate) fn query_may_work() -> bool {
    QUERY.load(Ordering::Relaxed) != FAILS
}

/// An open file of `/proc`. Another thread may close its descriptor, and open a file of its own
/// under the same number. So reads move no file position, what was read is used only if the
/// descriptor is still ours, and it is closed only then.
pub(crate) struct ProcFile {
    file: ManuallyDrop<OpenFile>,
    id: FileId,
    offset: u64,
}

impl ProcFile {
    pub(crate) fn open(path: &CStr) -> sys::Result<Self> {
        let file = OpenFile::open(path)?;
        let id = file.id()?;
        Ok(Self { file: ManuallyDrop::new(file), id, offset: 0 })
    }

    /// Reads the next bytes. Returns the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// `EBADF`: the descriptor is no longer this file's.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> sys::Result<usize> {
        let len = self.file.read_at(into, self.offset)?;
        self.check()?;
        self.offset += len as u64;
        Ok(len)
    }

    fn check(&self) -> sys::Result<()> {
        if self.file.id() == Ok(self.id) { Ok(()) } else { Err(Errno(libc::EBADF)) }
    }
}

impl Drop for ProcFile {
    fn drop(&mut self) {
        if self.check().is_ok() {
            // SAFETY: not used again.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// An open `maps` or `smaps`.
pub(crate) struct MapsFile(ProcFile);

impl MapsFile {
    pub(crate) fn open() -> sys::Result<Self> {
        ProcFile::open(MAPS).map(Self)
    }

    pub(crate) fn open_smaps() -> sys::Result<Self> {
        ProcFile::open(SMAPS).map(Self)
    }

    /// Whether [`Self::query`] works, tried once in a process.
    pub(crate) fn has_query(&self) -> bool {
        if QUERY.load(Ordering::Relaxed) == UNTRIED {
            let works = self.query(&mut ProcmapQuery::at_or_above(0, 0, 0)).is_ok();
            QUERY.store(if works { WORKS } else { FAILS }, Ordering::Relaxed);
        }
        QUERY.load(Ordering::Relaxed) == WORKS
    }

    /// Fills in the reply. `ENOENT`: there is no such VMA.
    pub(crate) fn query(&self, query: &mut ProcmapQuery) -> sys::Result {
        self.0.file.procmap_query(query)
    }
}

/// Bytes that one read takes.
const READ_CAPACITY: usize = 768;
/// The columns of a line take 73 bytes. The rest is for the beginning of a path, which is all that
/// matters.
const LINE_CAPACITY: usize = 320;

/// The lines of a maps file, from its start.
pub(crate) struct Lines {
    read: [u8; READ_CAPACITY],
    filled: usize,
    taken: usize,
    line: [u8; LINE_CAPACITY],
}

impl Lines {
    pub(crate) const fn new() -> Self {
        Self { read: [0; READ_CAPACITY], filled: 0, taken: 0, line: [0; LINE_CAPACITY] }
    }

    /// Discards what has been read: another file follows.
    pub(crate) fn restart(&mut self) {
        (self.filled, self.taken) = (0, 0);
    }

    /// The read buffer, for callers that read no text and are short of stack.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        &mut self.read
    }

    /// The next line, cut to its first 320 bytes; `None` at the end of the file.
    pub(crate) fn next(&mut self, file: &mut MapsFile) -> sys::Result<Option<&[u8]>> {
        let mut len = 0;
        loop {
            if self.taken == self.filled {
                self.filled = file.0.read(&mut self.read)?.min(READ_CAPACITY);
                self.taken = 0;
                if self.filled == 0 {
                    return Ok(None);
                }
            }
            while self.taken < self.filled {
                let byte = self.read.get(self.taken).copied().unwrap_or(b'\n');
                self.taken += 1;
                if byte == b'\n' {
                    return Ok(self.line.get(..len));
                }
                if let Some(place) = self.line.get_mut(len) {
                    *place = byte;
                    len += 1;
                }
            }
        }
    }
}
