//! Text for exports of millions of calls: numbers without an allocation each, names by index.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use mremap_trace::Call;
use serde::{Serialize, Serializer};

use super::names;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// `0x` and sixteen digits.
const LONGEST: usize = 18;

/// An address as `0x7f00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Hex {
    /// Writes the text to the caller's buffer.
    pub fn text(self, buffer: &mut [u8; LONGEST]) -> &str {
        let digits = (u64::BITS - (self.0 | 1).leading_zeros()).div_ceil(4) as usize;
        let mut rest = self.0;
        for place in buffer.iter_mut().skip(2).take(digits).rev() {
            *place = DIGITS[(rest & 15) as usize];
            rest >>= 4;
        }
        buffer[..2].copy_from_slice(b"0x");
        let text = buffer.get(..digits + 2).unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; LONGEST]))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; LONGEST]))
    }
}

/// Texts by index, each once.
#[derive(Default)]
pub struct Interner<T = String> {
    /// The texts.
    pub all: Vec<T>,
    indices: HashMap<String, usize>,
}

impl<T: for<'a> From<&'a str>> Interner<T> {
    /// Returns the index of a text. Adds the text if it is new.
    pub fn index(&mut self, text: &str) -> usize {
        if let Some(index) = self.indices.get(text) {
            return *index;
        }
        let index = self.all.len();
        self.all.push(T::from(text));
        self.indices.insert(text.to_owned(), index);
        index
    }
}

/// The result of a call: an address, or -errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The call succeeded.
    Address(Hex),
    /// The call failed.
    MinusErrno(i64),
}

impl Returned {
    /// Returns the result of a call.
    pub fn by(call: &Call) -> Self {
        match call.errno() {
            None => Self::Address(Hex(call.result as u64)),
            Some(_) => Self::MinusErrno(call.result),
        }
    }
}

impl Serialize for Returned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Address(address) => address.serialize(serializer),
            Self::MinusErrno(number) => {
                serializer.serialize_str(itoa::Buffer::new().format(*number))
            }
        }
    }
}

/// Returns the names of a call's flags, mostly without an allocation.
pub fn flags(flags: u32) -> Cow<'static, str> {
    match flags {
        0 => "0".into(),
        1 => "MAYMOVE".into(),
        3 => "MAYMOVE|FIXED".into(),
        5 => "MAYMOVE|DONTUNMAP".into(),
        7 => "MAYMOVE|FIXED|DONTUNMAP".into(),
        _ => names::flags(flags).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Hex, flags, names};

    #[test]
    fn texts_are_those_of_format() {
        for bits in 0..64 {
            for number in [0, 1_u64 << bits, (1_u64 << bits) - 1, u64::MAX >> bits] {
                assert_eq!(Hex(number).to_string(), format!("{number:#x}"));
            }
        }
        for number in 0..16 {
            assert_eq!(flags(number), names::flags(number));
        }
    }
}
