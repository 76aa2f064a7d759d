//! Call sites.

use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::units::printable;

/// A function at an address. Inlined functions come first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its name, demangled.
    pub function: Option<String>,
    /// Source file as given to the compiler.
    pub file: Option<String>,
    /// Line.
    pub line: Option<u32>,
}

/// A call site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Path of the module, if one is known.
    pub module: Option<String>,
    /// Offset in the module's file, or the address itself.
    pub offset: u64,
    /// Build id, hexadecimal.
    pub build_id: String,
    /// The outermost function of libc or of an allocator through which the call was made.
    pub via: Option<String>,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no symbols, if there is a reason to give.
    pub note: Option<String>,
}

impl Site {
    /// Makes a site outside every known module.
    pub fn bare(address: u64) -> Self {
        Self { offset: address, ..Self::default() }
    }

    /// Makes a site in a module.
    pub fn in_module(path: &str, offset: u64, build_id: &[u8]) -> Self {
        Self { module: Some(path.to_owned()), offset, build_id: hex(build_id), ..Self::default() }
    }

    /// Returns `module+0xoffset`, the same on every machine; the address outside every module.
    pub fn place(&self) -> String {
        match &self.module {
            Some(path) => format!("{}+{:#x}", base_name(path), self.offset),
            None if self.offset == 0 => "unknown".to_owned(),
            None => format!("{:#x}", self.offset),
        }
    }

    /// Returns `function (file:line)`, as far as known.
    pub fn name(&self) -> String {
        match &self.via {
            Some(function) => printable(&format!("{} via {function}", self.raw_name())),
            None => printable(&self.raw_name()),
        }
    }

    /// Returns the name of the function, as far as it is known.
    pub fn function(&self) -> String {
        let function = self.frames.last().and_then(|frame| frame.function.as_deref());
        let function = function.map(|name| {
            // glibc's own names of its functions.
            let name = name.strip_prefix("__GI_").unwrap_or(name);
            let name = name.strip_prefix("__libc_").unwrap_or(name);
            name.split_once("+0x").map_or(name, |(name, _)| name).to_owned()
        });
        function.unwrap_or_else(|| self.place())
    }

    fn raw_name(&self) -> String {
        let Some(frame) = self.frames.first() else {
            return self.place();
        };
        let function = frame.function.as_deref().map_or_else(|| self.place(), str::to_owned);
        match location(frame) {
            Some(location) => format!("{function} ({location})"),
            None => match &self.module {
                Some(path) => format!("{function} [{}]", base_name(path)),
                None => function,
            },
        }
    }

    /// Returns the frames from the outermost to the innermost, for flame graphs.
    pub fn stack(&self) -> Vec<String> {
        if self.frames.is_empty() {
            return vec![self.place()];
        }
        let module = self.module.as_deref().map(base_name).unwrap_or_default();
        let names = self.frames.iter().rev();
        let mut stack: Vec<String> = names
            .map(|frame| frame.function.clone().unwrap_or_else(|| module.to_owned()))
            .collect();
        if let (Some(last), Some(location)) =
            (stack.last_mut(), self.frames.first().and_then(location))
        {
            let _ = write!(last, " ({location})");
        }
        stack
    }

    /// Whether a text occurs in any of its names. A name that a report has shortened matches, too:
    /// its pieces must occur in order.
    pub fn matches(&self, text: &str) -> bool {
        let shortened = |name: &str| {
            let mut rest = Some(name);
            for piece in text.split('…') {
                rest = rest.and_then(|rest| Some(rest.split_once(piece)?.1));
            }
            rest.is_some()
        };
        let in_frame = |frame: &Frame| {
            let function = frame.function.as_ref();
            function.is_some_and(|name| name.contains(text))
                || full_location(frame).is_some_and(|location| location.contains(text))
                || location(frame).is_some_and(|location| location.contains(text))
        };
        shortened(&self.name())
            || self.place().contains(text)
            || self.via.as_ref().is_some_and(|via| via.contains(text))
            || self.module.as_ref().is_some_and(|path| path.contains(text))
            || self.frames.iter().any(in_frame)
    }
}

/// Returns bytes as the digits of a build id.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn base_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// Returns `file.c:12`.
fn location(frame: &Frame) -> Option<String> {
    let file = base_name(frame.file.as_deref()?);
    Some(frame.line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}

fn full_location(frame: &Frame) -> Option<String> {
    let file = frame.file.as_deref()?;
    Some(frame.line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}
