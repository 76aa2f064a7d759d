//! Names of errnos, flags and permissions.

use mremap_trace::{Call, FoundBy};

/// Returns the name of a method of finding VMAs, for people.
pub fn found_by(method: FoundBy) -> &'static str {
    match method {
        FoundBy::Unknown => "an unrecorded source",
        FoundBy::Query => "PROCMAP_QUERY",
        FoundBy::Maps => "maps text",
        FoundBy::Bisect => "bisection",
        FoundBy::Smaps => "smaps text",
    }
}

const ERRNOS: [(u32, &str); 22] = [
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (28, "ENOSPC"),
    (30, "EROFS"),
    (36, "ENAMETOOLONG"),
    (38, "ENOSYS"),
    (40, "ELOOP"),
    (95, "EOPNOTSUPP"),
];

/// Returns the name of an errno, `EFAULT` for 14; `errno 99` for one that mremap does not return.
pub fn errno(errno: u32) -> String {
    ERRNOS
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

/// Returns the text of an error and the name of its errno: `Permission denied (EACCES)`.
pub fn io_error(error: &std::io::Error) -> String {
    with_errno_names(&error.to_string())
}

/// Replaces each `(os error 13)` in a text by `(EACCES)`.
pub fn with_errno_names(text: &str) -> String {
    let mut pieces = text.split("(os error ");
    let mut named = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let number = piece.split_once(')').and_then(|(it, rest)| Some((it.parse().ok()?, rest)));
        match number {
            Some((number, rest)) => named.extend(["(", &errno(number), ")", rest]),
            None => named.extend(["(os error ", piece]),
        }
    }
    named
}

/// Parses an errno, by name or number.
pub fn errno_number(text: &str) -> Option<u32> {
    let text = text.trim();
    let named = ERRNOS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    named.map(|(number, _)| *number).or_else(|| text.trim_start_matches("errno ").parse().ok())
}

/// `MREMAP_MAYMOVE`.
pub const MAYMOVE: u32 = 1;
/// `MREMAP_FIXED`.
pub const FIXED: u32 = 2;
/// `MREMAP_DONTUNMAP`.
pub const DONTUNMAP: u32 = 4;

/// Returns the call as in C; the last argument only if the flags use it.
pub fn call(call: &Call) -> String {
    let target = if call.flags & (FIXED | DONTUNMAP) == 0 {
        String::new()
    } else {
        format!(", {:#x}", call.new)
    };
    format!(
        "mremap({:#x}, {}, {}, {}{target})",
        call.old,
        call.old_len,
        call.new_len,
        flags(call.flags)
    )
}

/// Returns the names of flags, `MAYMOVE|FIXED`; unknown bits in hexadecimal.
pub fn flags(flags: u32) -> String {
    let mut names: Vec<String> = [(MAYMOVE, "MAYMOVE"), (FIXED, "FIXED"), (DONTUNMAP, "DONTUNMAP")]
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if flags & !7 != 0 {
        names.push(format!("{:#x}", flags & !7));
    }
    if names.is_empty() { "0".to_owned() } else { names.join("|") }
}

/// Returns permissions as in maps, `rw-p`; `?` if unknown.
pub fn protection(bits: u8) -> String {
    if bits & 1 << 7 == 0 {
        return "?".to_owned();
    }
    let letter = |bit: u8, letter: char| if bits & 1 << bit == 0 { '-' } else { letter };
    [letter(0, 'r'), letter(1, 'w'), letter(2, 'x'), if bits & 1 << 3 == 0 { 'p' } else { 's' }]
        .iter()
        .collect()
}
