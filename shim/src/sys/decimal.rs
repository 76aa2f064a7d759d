//! Decimal digits without `core::fmt`, whose code can panic.

/// Calls `take` with the digits of `number`.
pub(crate) fn with_digits(number: u64, take: impl FnOnce(&[u8])) {
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    take(digits.get(20 - used..).unwrap_or(&[]));
}
