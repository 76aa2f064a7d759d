//! Text where nothing may be allocated.

use crate::sys::decimal;

/// Bytes in room of their own; what does not fit is cut.
#[derive(Clone, Copy)]
pub(crate) struct Text<const ROOM: usize> {
    pub(crate) len: usize,
    pub(crate) bytes: [u8; ROOM],
}

impl<const ROOM: usize> Text<ROOM> {
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; ROOM] };

    pub(crate) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The bytes as text; empty if they are not UTF-8.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(self.get()).unwrap_or("")
    }

    pub(crate) fn push(&mut self, more: &[u8]) {
        for &byte in more {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    /// Pushes ASCII that can be printed, and `?` for every other byte.
    pub(crate) fn push_printable(&mut self, more: &[u8]) {
        for &byte in more {
            self.push(&[if matches!(byte, b' '..=b'~') { byte } else { b'?' }]);
        }
    }

    /// In decimal.
    pub(crate) fn push_number(&mut self, number: u64) {
        decimal::with_digits(number, |digits| self.push(digits));
    }
}
