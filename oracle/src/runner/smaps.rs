//! Parses `/proc/self/smaps` as far as the case's mappings.

use crate::observation::{Class, Mapping, flag};

/// The observed addresses: all below a limit, and one range above it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// Mappings that start below belong to the case.
    pub below: u64,
    /// A further range, which may be empty.
    pub also: (u64, u64),
}

impl Watched {
    /// The observed part of a range, which may be empty.
    fn clip(self, start: u64, end: u64) -> (u64, u64) {
        if start < self.below {
            return (start, end);
        }
        (start.max(self.also.0), end.min(self.also.1))
    }

    fn is_behind(self, start: u64) -> bool {
        start >= self.below && start >= self.also.1
    }
}

/// A mapping with the device and inode of its object.
pub(super) struct Entry {
    pub mapping: Mapping,
    pub inode: (u64, u64),
}

/// Parses smaps text into `entries`, until the text ends or no observed range can follow. Returns
/// whether to go on, and the number of bytes used.
pub(super) fn parse(text: &[u8], watched: Watched, entries: &mut Vec<Entry>) -> (bool, usize) {
    let mut used = 0;
    let mut pending: Option<Entry> = None;
    let mut at = 0;
    while let Some(len) = text[at..].iter().position(|&byte| byte == b'\n') {
        let line = &text[at..at + len];
        at += len + 1;
        match line {
            [b'0'..=b'9' | b'a'..=b'f', ..] => {
                let Some((start, entry)) = header(line, watched) else {
                    continue;
                };
                if watched.is_behind(start) {
                    return (false, at);
                }
                pending = entry;
            }
            [b'V', b'm', b'F', b'l', b'a', b'g', b's', b':', flags @ ..] => {
                if let Some(mut entry) = pending.take() {
                    entry.mapping.flags = vm_flags(flags);
                    push(entry, entries);
                }
                used = at;
            }
            _ => {}
        }
    }
    (true, used)
}

fn push(entry: Entry, entries: &mut Vec<Entry>) {
    if let Some(last) = entries.last_mut()
        && last.inode == entry.inode
        && last.mapping.continues_in(&entry.mapping)
    {
        last.mapping.end = entry.mapping.end;
        return;
    }
    entries.push(entry);
}

fn vm_flags(text: &[u8]) -> u64 {
    text.split(|&byte| byte == b' ')
        .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
        .fold(0, |flags, pair| flags | flag(pair))
}

/// The start of a mapping, and the mapping if it is observed.
fn header(line: &[u8], watched: Watched) -> Option<(u64, Option<Entry>)> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (start, end) = split(fields.next()?, b'-')?;
    fields.next()?;
    let offset = hex(fields.next()?)?;
    let (major, minor) = split(fields.next()?, b':')?;
    let inode = fields.next()?.iter().try_fold(0u64, |value, &digit| {
        Some(value * 10 + u64::from(char::from(digit).to_digit(10)?))
    })?;
    let name = fields.next().unwrap_or_default().trim_ascii();
    let (from, until) = watched.clip(start, end);
    if from >= until {
        return Some((start, None));
    }
    let class = Class::of_name(name);
    let has_object = major != 0 || minor != 0;
    let entry = Entry {
        mapping: Mapping {
            start: from,
            end: until,
            flags: 0,
            class,
            object: u64::from(has_object),
            offset: if has_object { offset + (from - start) } else { 0 },
        },
        inode: (major << 32 | minor, inode),
    };
    Some((start, Some(entry)))
}

fn split(field: &[u8], at: u8) -> Option<(u64, u64)> {
    let middle = field.iter().position(|&byte| byte == at)?;
    Some((hex(&field[..middle])?, hex(&field[middle + 1..])?))
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, &digit| {
        Some(value << 4 | u64::from(char::from(digit).to_digit(16)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\nVmFlags: rd wr mr \n\
        2000-4000 rw-p 00000000 00:00 0 \nSize: 8 kB\nVmFlags: rd wr mr \n\
        4000-5000 r--s 00003000 fe:01 77                         /a file\nVmFlags: rd sh zz \n\
        7000000-7004000 rw-p 00000000 00:00 0 \nVmFlags: rd \n\
        9000000-9004000 rw-p 00000000 00:00 0 \nVmFlags: rd \n";

    #[test]
    fn joins_neighbours_and_clips_to_the_observed_ranges() {
        let watched = Watched { below: 0x10000, also: (0x700_1000, 0x700_2000) };
        for step in [1, 7, 64, TEXT.len()] {
            let (mut entries, mut text, mut end) = (Vec::new(), Vec::new(), false);
            for chunk in TEXT.chunks(step) {
                text.extend_from_slice(chunk);
                if end {
                    break;
                }
                let (more, used) = parse(&text, watched, &mut entries);
                end = !more;
                text.drain(..used);
            }
            assert!(end, "stops after the observed ranges");
            let ranges: Vec<_> =
                entries.iter().map(|entry| (entry.mapping.start, entry.mapping.end)).collect();
            assert_eq!(
                ranges,
                [(0x1000, 0x4000), (0x4000, 0x5000), (0x700_1000, 0x700_2000)],
                "in steps of {step}"
            );
            let file = &entries[1];
            assert_eq!(
                (file.mapping.class, file.mapping.offset, file.inode.1),
                (Class::File, 0x3000, 77)
            );
            assert_eq!(file.mapping.flags, flag(*b"rd") | flag(*b"sh") | 1 << 63);
        }
    }
}
