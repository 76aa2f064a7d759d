//! An address for the trace's mapping, which must be able to grow in place.

use crate::recording::clock;
use crate::sys::{OpenFile, Result, unmap};

/// Addresses tried before the kernel's choice is taken.
const TRIES: u64 = 4;
/// The mapping starts at a multiple of this, so that the kernel can use large pages for it.
const ALIGNMENT: u64 = 1 << 21;

/// Maps the first `len` bytes of a file far from all other mappings, so that the next `room - len`
/// bytes are free, and likely to stay so: at a random address in the largest part of the address
/// space that is not in use. Where that fails, the kernel chooses the address.
pub(super) fn map_with_room(file: &OpenFile, len: usize, room: usize) -> Result {
    if len == room {
        return file.map(0, len);
    }
    for attempt in 0..TRIES {
        let hint = far_address(attempt) as usize;
        let mapped = file.map(hint, len)?;
        if mapped == hint {
            return Ok(mapped);
        }
        unmap(mapped, len);
    }
    file.map(0, len)
}

/// Picks an address in the middle half of the largest gap between the stack, this library, the
/// executable, and 0. The kernel maps next to one of these.
fn far_address(attempt: u64) -> u64 {
    let on_stack = 0_u64;
    // SAFETY: reads the auxiliary vector.
    let executable = unsafe { libc::getauxval(libc::AT_PHDR) };
    let library = (far_address as *const ()).addr() as u64;
    let mut ends = [0, library, executable, (&raw const on_stack).addr() as u64];
    ends.sort_unstable();
    let gaps = ends.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
    let (len, start) = gaps.max().unwrap_or((0, 0));
    // The library's address and the clock differ from run to run. An odd factor spreads their bits.
    let random =
        (library ^ clock::ticks().rotate_left(attempt as u32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let offset = len / 4 + (random >> 1).checked_rem(len / 2).unwrap_or(0);
    (start + offset) & !(ALIGNMENT - 1)
}
