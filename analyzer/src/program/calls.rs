//! How a file may call `mremap`, judged by its bytes.

/// Largest distance in bytes between the instruction that loads the number of `mremap` and the one
/// that enters the kernel. Instructions that load the arguments are between them.
const BETWEEN: usize = 48;

/// How a file may call `mremap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// It imports `mremap`: the shim sees such calls.
    pub imports_mremap: bool,
    /// It imports `syscall`, which may be called with the number of `mremap`: the shim sees such
    /// calls.
    pub imports_syscall: bool,
    /// It seems to enter the kernel itself, at this address: the shim does not see such calls.
    pub inline: Option<u64>,
}

impl Calls {
    /// Finds code that loads the number of `mremap` and then enters the kernel. Only the common
    /// instruction is searched for; a number can be loaded in many other ways.
    pub fn find_inline(code: &[u8]) -> Option<usize> {
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
    fn finds_the_number_of_mremap_shortly_before_a_system_call() {
        let code = |between: usize| {
            let mut code = vec![0x90, 0xb8, 25, 0, 0, 1, 0xb8, 25, 0, 0, 0];
            code.extend(vec![0x90; between]);
            code.extend([0x0f, 0x05]);
            code
        };
        let search = |code: &[u8]| find(code, &[0xb8, 25, 0, 0, 0], &[0x0f, 0x05]);
        assert_eq!(search(&code(10)), Some(6));
        assert_eq!(search(&code(BETWEEN - 2)), Some(6));
        assert_eq!(search(&code(BETWEEN - 1)), None);
        assert_eq!(search(&[0xb8, 25, 0]), None);
    }
}
