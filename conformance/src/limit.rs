//! The limit on a process's mappings, which the kernel checks at another time since 7.1.

use std::fmt::Write as _;

use mremap_oracle::case::PAGE;
use mremap_oracle::runner::sys::{SharedWords, in_child};

/// More mappings than the default limit: a kernel that allows these has none.
const MAX_MAPPINGS: u64 = 70_000;
/// Mappings freed between the first and the last try.
const STEPS: u64 = 8;

/// What each of three calls returns with 0 to 7 mappings free: `.` success, `m` ENOMEM.
pub const RECORDED: [(&str, &str); 2] = [
    ("Linux 6.17", "grow:........ move:mmmmmm.. noop:........"),
    ("Linux 7.1", "grow:mmmm.... move:mmmm.... noop:mmmm...."),
];

/// Tries the calls in a child. `None` where this system has no such limit.
pub fn observe() -> Option<String> {
    let mut shared = SharedWords::new(64).ok()?;
    let status = in_child(|| {
        let answers = try_at_the_limit();
        answers.map_or(1, |answers| {
            shared.append(&answers);
            0
        })
    });
    let answers = shared.written();
    if status.ok()? != 0 || answers.len() != 3 * STEPS as usize {
        return None;
    }
    let mut text = String::new();
    for (name, answers) in ["grow", "move", "noop"].iter().zip(answers.chunks(STEPS as usize)) {
        let letters = answers.iter().map(|&errno| match errno {
            0 => '.',
            12 => 'm',
            _ => '?',
        });
        let _ = write!(text, "{name}:{} ", letters.collect::<String>());
    }
    Some(text.trim_end().to_owned())
}

const LEN: u64 = 8 * PAGE;
const GROWING: u64 = 0x1000_0000_0000;
const HERE: u64 = 0x1100_0000_0000;
const THERE: u64 = 0x1200_0000_0000;
const AREA: u64 = 0x1300_0000_0000;

/// The errno of a growth in place, a move and a call that changes nothing, with ever more mappings
/// free.
fn try_at_the_limit() -> Option<Vec<u64>> {
    let (mut moving, mut free) = (HERE, THERE);
    if !map(GROWING, LEN) || !map(moving, LEN) {
        return None;
    }
    let mut split = split_until_refused()?;
    let mut answers = [const { Vec::new() }; 3];
    for _ in 0..STEPS {
        let grown = mremap(GROWING, LEN, LEN + PAGE, 0, 0);
        if grown == 0 {
            unmap(GROWING + LEN, PAGE);
        }
        let moved = mremap(moving, LEN, LEN, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, free);
        if moved == 0 {
            (moving, free) = (free, moving);
        }
        let unchanged = mremap(GROWING, LEN, LEN, 0, 0);
        for (answers, errno) in answers.iter_mut().zip([grown, moved, unchanged]) {
            answers.push(errno);
        }
        // The area's last VMA, whole, so that exactly one mapping is freed.
        unmap(AREA + split * PAGE, (MAX_MAPPINGS - split) * PAGE);
        split -= 1;
    }
    Some(answers.concat())
}

/// Splits pages off the area until the limit is reached. Returns how many.
///
/// ```text
///   | r-- | --x | r-- | --x | ... |  ---  |
/// ```
fn split_until_refused() -> Option<u64> {
    if !map(AREA, MAX_MAPPINGS * PAGE) {
        return None;
    }
    let protections = [libc::PROT_READ, libc::PROT_EXEC];
    (0..MAX_MAPPINGS - 1).find(|&page| !protect(AREA + page * PAGE, protections[page as usize % 2]))
}

fn map(at: u64, len: u64) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: nothing else is mapped at this file's addresses.
    let mapped = unsafe { libc::mmap(at as *mut _, len as usize, libc::PROT_NONE, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

fn unmap(at: u64, len: u64) {
    // SAFETY: the range belongs to this file's own mappings.
    unsafe { libc::munmap(at as *mut _, len as usize) };
}

fn protect(at: u64, prot: i32) -> bool {
    // SAFETY: the page belongs to this file's own mappings.
    unsafe { libc::mprotect(at as *mut _, PAGE as usize, prot) == 0 }
}

/// Returns 0 or the errno.
fn mremap(old: u64, old_len: u64, new_len: u64, flags: i32, new: u64) -> u64 {
    let number = libc::SYS_mremap;
    // SAFETY: the ranges belong to this file's own mappings.
    let result = unsafe { libc::syscall(number, old, old_len, new_len, flags as u64, new) };
    if result == -1 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0) as u64
    } else {
        0
    }
}
