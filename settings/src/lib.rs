//! The settings of the preload library, each defined once. The library parses them with this crate,
//! `mremap-analyzer run` and `doctor` make their options and checks from it, and README's table is
//! tested against it.
//!
//! Every setting is an environment variable. A value that cannot be used is reported and replaced
//! by the default.
#![no_std]
#![forbid(unsafe_code)]

/// What the names of all settings begin with.
pub const PREFIX: &str = "MREMAP_SHIM_";

/// The variable that names the library file for `mremap-analyzer`. The library itself does not read
/// it.
pub const LIBRARY: &str = "MREMAP_SHIM_LIBRARY";

pub mod order;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Identifies the setting, for a `match` that the compiler holds to be complete.
    pub id: Id,
    /// The environment variable.
    pub name: &'static str,
    /// What the setting decides: the first line of its help.
    pub help: &'static str,
    /// The values it takes.
    pub values: Values,
    /// The value that applies when the variable is not set. `None` for [`Values::Text`].
    pub default: Option<&'static str>,
}

/// The values of a setting.
#[derive(Debug)]
pub enum Values {
    /// One of a few words. The index of a word is the number that the header of a trace has for it.
    Words(&'static [Word]),
    /// A number from `min` to `max`; see [`parse_number`].
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
        /// The range and the unit as people write them.
        form: &'static str,
    },
    /// Any text.
    Text {
        /// What the text is.
        form: &'static str,
        /// What applies when the variable is not set.
        unset: &'static str,
    },
}

/// A word that a setting takes as its value.
#[derive(Debug)]
pub struct Word {
    /// The word.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Defines the settings: for each an [`Id`], and a [`Setting`] whose variable has its name.
macro_rules! settings {
    ($(
        $(#[$doc:meta])*
        $id:ident $name:ident: $help:literal, $values:expr, $default:expr;
    )*) => {
        /// Identifies a setting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Id {
            $($id),*
        }

        $(
            #[doc = $help]
            #[doc = ""]
            $(#[$doc])*
            pub static $name: Setting = Setting {
                id: Id::$id,
                name: concat!("MREMAP_SHIM_", stringify!($name)),
                help: $help,
                values: $values,
                default: $default,
            };
        )*

        /// All settings, in the order of the documentation.
        pub static ALL: [&Setting; [$(Id::$id),*].len()] = [$(&$name),*];
    };
}

settings! {
    Mode MODE: "Which moves of several VMAs are emulated",
        Values::Words(&[
            Word { word: "auto", meaning: "those that the kernel cannot do" },
            Word { word: "emulate", meaning: "all of them" },
            Word { word: "passthrough", meaning: "none" },
        ]), Some("auto");

    Trace TRACE: "Where traces are written",
        Values::Text {
            form: "a directory; each process image writes a file of its own",
            unset: "no trace",
        }, None;

    TraceSize TRACE_SIZE: "Largest size of one process's trace",
        Values::Number {
            min: 64 << 10,
            max: u64::MAX,
            form: "64K or more, as bytes or with K, M or G",
        }, Some("64M");

    TraceKeep TRACE_KEEP: "Which calls a full trace keeps; lost calls are counted",
        Values::Words(&[
            Word { word: "first", meaning: "the first ones; later calls are lost" },
            Word { word: "last", meaning: "the last ones; they overwrite the oldest" },
        ]), Some("first");

    TraceDetail TRACE_DETAIL: "For which moves the VMAs of the source range are recorded",
        Values::Words(&[
            Word { word: "calls", meaning: "emulated moves" },
            Word { word: "vmas", meaning: "every move, with the permissions of each VMA" },
        ]), Some("calls");

    Stack STACK: "How many frames are recorded above each call site, also through code without frame pointers",
        Values::Number { min: 0, max: 60, form: "0 to 60" }, Some("0");

    /// The first process replaces `0` by `0:PID` with its own process id, so that its children know
    /// that they are left out; see [`Recorded::parse`].
    Children CHILDREN: "Which processes are recorded",
        Values::Words(&[
            Word { word: "0", meaning: "only the first, with the programs it executes in its place" },
            Word { word: "1", meaning: "all" },
        ]), Some("1");

    Programs PROGRAMS: "Which programs are recorded",
        Values::Text { form: "file names, separated by commas", unset: "all" }, None;

    Libc LIBC: "Whether the calls that libc makes to itself are seen, as in realloc",
        Values::Words(&[
            Word { word: "leave", meaning: "no" },
            Word {
                word: "patch",
                meaning: "yes, by a jump in libc's mremap; x86-64, where its code is known",
            },
        ]), Some("leave");

    VmaSource VMA_SOURCE: "How the VMAs of a range are found",
        Values::Words(&[
            Word { word: "auto", meaning: "by probing, or from /proc where that is cheaper" },
            Word { word: "query", meaning: "by PROCMAP_QUERY" },
            Word { word: "maps", meaning: "from the text of /proc/self/maps" },
            Word { word: "bisect", meaning: "by probing alone" },
        ]), Some("auto");

    Seccomp SECCOMP: "What a seccomp filter that was there before the program admits",
        Values::Words(&[
            Word {
                word: "auto",
                meaning: "a container's admits all calls of this library; any other mremap and mmap alone, \
                          so there is no trace",
            },
            Word { word: "trust", meaning: "all calls of this library" },
        ]), Some("auto");
}

/// The setting of an environment variable, given by its whole name.
pub fn find(name: &[u8]) -> Option<&'static Setting> {
    ALL.into_iter().find(|setting| setting.name.as_bytes() == name)
}

/// Whether a variable whose name begins with [`PREFIX`] is read by the library or the analyzer.
pub fn is_known(name: &[u8]) -> bool {
    name == LIBRARY.as_bytes() || find(name).is_some()
}

impl Setting {
    /// Parses a value. Returns the index of a word, the number, or 0 for any text; `None` for a bad
    /// value.
    pub fn parse(&self, value: &[u8]) -> Option<u64> {
        match self.values {
            Values::Words(words) => {
                let index = words.iter().position(|one| one.word.as_bytes() == value)?;
                Some(index as u64)
            }
            Values::Number { min, max, .. } => {
                parse_number(value).filter(|number| (min..=max).contains(number))
            }
            Values::Text { .. } => Some(0),
        }
    }

    /// The words it takes; none when its values are not words.
    pub fn words(&self) -> &'static [Word] {
        match self.values {
            Values::Words(words) => words,
            Values::Number { .. } | Values::Text { .. } => &[],
        }
    }

    /// Says which values the setting takes and which one is used instead of a bad one, as in " must
    /// be calls or vmas; using calls". Text comes in pieces because the library cannot allocate.
    pub fn complain(&self, mut push: impl FnMut(&'static str)) {
        push(" must be ");
        match self.values {
            Values::Words(words) => {
                let count = words.len();
                for (index, one) in words.iter().enumerate() {
                    push(match count - index {
                        _ if index == 0 => "",
                        1 => " or ",
                        _ => ", ",
                    });
                    push(one.word);
                }
            }
            Values::Number { form, .. } | Values::Text { form, .. } => push(form),
        }
        if let Some(default) = self.default {
            push("; using ");
            push(default);
        }
    }
}

/// Which processes are recorded, by a value of [`CHILDREN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// All.
    All,
    /// The first one that reads the value.
    First,
    /// The one with this process id.
    Only(u32),
}

impl Recorded {
    /// Parses `0`, `1` or `0:PID`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value {
            b"0" => Some(Self::First),
            b"1" => Some(Self::All),
            _ => parse_number(value.strip_prefix(b"0:")?)?.try_into().ok().map(Self::Only),
        }
    }
}

/// A number as decimal digits, followed by K, M or G for powers of 1,024.
pub fn parse_number(text: &[u8]) -> Option<u64> {
    let (digits, unit) = match text.split_last()? {
        (b'K' | b'k', digits) => (digits, 1 << 10),
        (b'M' | b'm', digits) => (digits, 1 << 20),
        (b'G' | b'g', digits) => (digits, 1 << 30),
        _ => (text, 1),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    value.checked_mul(unit)
}
