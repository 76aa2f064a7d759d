//! How a file may call `mremap`, as far as its bytes tell.

/// Bytes between an instruction that loads the call's number and the one that enters the kernel; compilers
/// and people put the arguments there.
const BETWEEN: usize = 48;

/// How a file may call `mremap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// By symbol: seen.
    pub imports_mremap: bool,
    /// By number through libc's `syscall`: seen.
    pub imports_syscall: bool,
    /// By an instruction of its own, at this address: not seen.
    pub own: Option<u64>,
}

impl Calls {
    /// Where code loads the number of `mremap` and enters the kernel soon after: a guess, since a number may
    /// be loaded in many ways.
    pub fn find_own(code: &[u8]) -> Option<usize> {
        if cfg!(target_arch = "x86_64") {
            // mov $25, %eax ... syscall
            find(code, &[0xb8, 25, 0, 0, 0], &[0x0f, 0x05])
        } else {
            // mov x8, #216 ... svc #0
            find(code, &0xd280_1b08_u32.to_le_bytes(), &0xd400_0001_u32.to_le_bytes())
        }
    }
}

fn find(code: &[u8], load: &[u8], enter: &[u8]) -> Option<usize> {
    let first = *load.first()?;
    let mut from = 0;
    while let Some(step) = code.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + step;
        let behind = code.get(at + load.len()..).unwrap_or_default();
        let near = behind.get(..BETWEEN).unwrap_or(behind);
        if code.get(at..).is_some_and(|rest| rest.starts_with(load))
            && near.windows(enter.len()).any(|bytes| bytes == enter)
        {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{BETWEEN, find};

    #[test]
    fn a_number_and_the_kernels_door_close_to_each_other_are_a_call() {
        let code = |between: usize| {
            let mut code = vec![0x90, 0xb8, 25, 0, 0, 1, 0xb8, 25, 0, 0, 0];
            code.extend(vec![0x90; between]);
            code.extend([0x0f, 0x05]);
            code
        };
        let look = |code: &[u8]| find(code, &[0xb8, 25, 0, 0, 0], &[0x0f, 0x05]);
        assert_eq!(look(&code(10)), Some(6));
        assert_eq!(look(&code(BETWEEN - 2)), Some(6));
        assert_eq!(look(&code(BETWEEN - 1)), None);
        assert_eq!(look(&[0xb8, 25, 0]), None);
    }
}
