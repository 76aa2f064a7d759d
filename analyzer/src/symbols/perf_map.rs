//! Names of code outside modules: `/tmp/perf-PID.map`, which JIT compilers write for perf.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mremap_trace::Header;

use super::{Frame, SymbolOptions};
use crate::load::open_regular;
use crate::model::units::printable;

/// Limit on bytes that are read of a map.
const MAX_BYTES: u64 = 256 << 20;
/// Entries before an address that may cover it. Only memory that was used again has several.
const MAX_OVERLAPS: usize = 64;
/// Unit of a process's start time, in ns.
const START_UNIT: u64 = 10_000_000;

/// The entries of a map, by start.
#[derive(Default)]
pub struct PerfMap {
    entries: Vec<Entry>,
}

struct Entry {
    start: u64,
    len: u64,
    /// Line in the file: of two entries for an address, the later holds.
    line: usize,
    name: String,
}

impl PerfMap {
    /// Reads the map of a process; empty if it has none.
    pub fn of(options: &SymbolOptions, header: &Header) -> Self {
        let name = format!("perf-{}.map", header.pid);
        let root = options.sysroot.as_deref().unwrap_or(Path::new("/"));
        let directories = options.debug_path.iter().cloned().chain([root.join("tmp")]);
        let mut maps = directories.filter_map(|directory| read(&directory.join(&name), header));
        maps.next().map_or_else(Self::default, |bytes| Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Self {
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let mut entries: Vec<Entry> = lines
            .filter_map(|(line, text)| {
                let text = String::from_utf8_lossy(text);
                let mut fields = text.splitn(3, ' ');
                let mut number =
                    || u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok();
                let (start, len) = (number()?, number()?);
                Some(Entry { start, len, line, name: printable(fields.next()?) })
            })
            .collect();
        entries.sort_by_key(|entry| entry.start);
        Self { entries }
    }

    /// Returns the frame at an address.
    pub fn frame(&self, address: u64) -> Option<Frame> {
        let end = self.entries.partition_point(|entry| entry.start <= address);
        let near = self.entries.get(end.saturating_sub(MAX_OVERLAPS)..end)?;
        let holds = |entry: &&Entry| address - entry.start < entry.len;
        let name = &near.iter().filter(holds).max_by_key(|entry| entry.line)?.name;
        // CPython writes `py::function:/path/of/file.py`.
        let split = name.starts_with("py::").then(|| name.split_once(":/")).flatten();
        Some(match split {
            Some((function, file)) => Frame {
                function: Some(function.to_owned()),
                file: Some(format!("/{file}")),
                line: None,
            },
            None => Frame { function: Some(name.clone()), ..Frame::default() },
        })
    }
}

/// Reads a map, unless it was last written before the process started: pids are used again.
fn read(path: &Path, header: &Header) -> Option<Vec<u8>> {
    let file = open_regular(path).ok()?;
    let metadata = file.metadata().ok()?;
    let started = header.start_time.saturating_mul(START_UNIT);
    let age = header.monotonic_ns.checked_sub(started).filter(|_| started > 0);
    let start = age.map_or(0, |age| header.realtime_ns.saturating_sub(age) / 1_000_000_000);
    if metadata.mtime() < start as i64 - 1 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::PerfMap;

    #[test]
    fn takes_the_latest_entry_that_covers_an_address() {
        let map = PerfMap::parse(
            b"1000 100 old\nrubbish\n0x1000 0x20 new one\n3000 10 py::grow:/app/pool.py\n",
        );
        let name = |address| map.frame(address).and_then(|frame| frame.function);
        assert_eq!(name(0x1010).as_deref(), Some("new one"));
        assert_eq!(name(0x1020).as_deref(), Some("old"));
        assert_eq!(name(0x1100), None);
        let python = map.frame(0x3000).unwrap_or_default();
        assert_eq!(
            (python.function.as_deref(), python.file.as_deref()),
            (Some("py::grow"), Some("/app/pool.py"))
        );
    }
}
