//! One line of `/proc/PID/maps`.

use crate::vma::{Backing, Protection, Range, Vma};

/// A line of `/proc/PID/maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The VMA.
    pub vma: Vma,
    /// Device number of the file, major and minor; zeros for memory.
    pub device: (u32, u32),
    /// Inode of the file; 0 for memory.
    pub inode: u64,
    /// Path or `[name]`, with the kernel's escapes; empty for plain anonymous memory.
    pub path: &'a [u8],
}

/// Parses `start-end rwxp offset major:minor inode   path` without its newline; `None` for anything
/// else. else.
pub fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let (start, rest) = hex(line)?;
    let (end, rest) = hex(rest.strip_prefix(b"-")?)?;
    let (letters, rest) = rest.strip_prefix(b" ")?.split_at_checked(4)?;
    let (offset, rest) = hex(rest.strip_prefix(b" ")?)?;
    let (major, rest) = hex(rest.strip_prefix(b" ")?)?;
    let (minor, rest) = hex(rest.strip_prefix(b":")?)?;
    let (inode, path) = decimal(rest.strip_prefix(b" ")?)?;
    let &[read, write, execute, sharing] = letters else {
        return None;
    };
    let path = path.trim_ascii_start();
    let shared = sharing == b's';
    (start < end).then_some(Line {
        vma: Vma {
            range: Range { start, end },
            protection: Some(Protection {
                read: read == b'r',
                write: write == b'w',
                execute: execute == b'x',
                shared,
            }),
            backing: Backing::of_mapping(path, major as u32, inode, shared),
            offset,
            userfaultfd: false,
        },
        device: (major as u32, minor as u32),
        inode,
        path,
    })
}

/// Parses the `VmFlags` line of `/proc/PID/smaps`: whether the VMA is registered with userfaultfd,
/// in any mode. `None` for another line.
pub fn flags_name_userfaultfd(line: &[u8]) -> Option<bool> {
    let flags = line.strip_prefix(b"VmFlags:")?;
    Some(
        flags
            .split(u8::is_ascii_whitespace)
            .any(|flag| matches!(flag, b"um" | b"uw" | b"ui" | b"ur")),
    )
}

fn hex(bytes: &[u8]) -> Option<(u64, &[u8])> {
    number(bytes, 16)
}

fn decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    number(bytes, 10)
}

fn number(bytes: &[u8], base: u32) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut digits = 0;
    for &byte in bytes {
        let Some(digit) = char::from(byte).to_digit(base) else {
            break;
        };
        value = value.checked_mul(u64::from(base))?.checked_add(u64::from(digit))?;
        digits += 1;
    }
    Some((value, bytes.get(digits..)?)).filter(|_| digits > 0)
}
