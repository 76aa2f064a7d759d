//! Text where nothing may be allocated.

use crate::sys::decimal;

/// Text in an array. What does not fit is cut. The length is on the page of the first bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Text<const CAPACITY: usize> {
    pub(crate) len: usize,
    pub(crate) bytes: [u8; CAPACITY],
}

impl<const CAPACITY: usize> Text<CAPACITY> {
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; CAPACITY] };

    pub(crate) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The bytes as text; empty if they are not UTF-8.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(self.get()).unwrap_or("")
    }

    pub(crate) fn push(&mut self, more: &[u8]) {
        for &byte in more {
            if let Some(free) = self.bytes.get_mut(self.len) {
                *free = byte;
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

    /// Pushes a number in decimal.
    pub(crate) fn push_number(&mut self, number: u64) {
        decimal::with_digits(number, |digits| self.push(digits));
    }
}
