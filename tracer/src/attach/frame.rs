//! A frame like that of a signal: what `rt_sigreturn` restores a thread from.

use crate::arch::{RESTARTS_BY_BLOCK, RESTARTS_FIRST, RESTARTS_LAST};

/// The frame without the state of the vector registers: return address, `ucontext`.
const FRAME: usize = 8 + 40 + 256 + 8;
/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS` of `asm/ucontext.h`.
const FLAGS: u64 = 7;
/// `FP_XSTATE_MAGIC1` and `FP_XSTATE_MAGIC2` of `asm/sigcontext.h`, and where the first one stands.
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
const SOFTWARE: usize = 464;

/// Where the instruction pointer stands in a frame.
pub(super) const RIP: usize = 8 + 40 + 16 * 8;

/// What a thread is to go on with.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) registers: libc::user_regs_struct,
    /// As `PTRACE_GETREGSET` gives it for `NT_X86_XSTATE`.
    pub(super) vectors: Vec<u8>,
    pub(super) blocked: u64,
}

/// The largest frame for such a context, with room to align it.
pub(super) fn room(context: &Context) -> u64 {
    (FRAME + context.vectors.len() + 4 + 128) as u64
}

/// Encodes the frame for `address`, which is 8 above a multiple of 16.
pub(super) fn encode(context: &Context, address: u64, restorer: u64) -> Vec<u8> {
    let vectors = (address + FRAME as u64).next_multiple_of(64);
    let mut frame = Vec::with_capacity(FRAME + context.vectors.len() + 128);
    let mut push = |word: u64| frame.extend_from_slice(&word.to_ne_bytes());
    push(restorer);
    push(FLAGS);
    push(0);
    // An alternate stack with unknown flags is refused, so the thread keeps its own.
    push(0);
    push(0x5a5a_0000);
    push(0);
    let registers = to_go_on(context.registers);
    let r = &registers;
    for word in [r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15] {
        push(word);
    }
    for word in [r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags] {
        push(word);
    }
    push(r.cs & 0xffff | (r.ss & 0xffff) << 48);
    for word in [0, 0, 0, 0, vectors] {
        push(word);
    }
    for _ in 0..8 {
        push(0);
    }
    push(context.blocked);
    frame.resize((vectors - address) as usize, 0);
    let mut area = context.vectors.clone();
    let size = area.len() as u32;
    if let Some(software) = area.get_mut(SOFTWARE..SOFTWARE + 48) {
        let mut features = [0; 8];
        features.copy_from_slice(&software[..8]);
        software.fill(0);
        software[..4].copy_from_slice(&MAGIC1.to_ne_bytes());
        software[4..8].copy_from_slice(&(size + 4).to_ne_bytes());
        software[8..16].copy_from_slice(&features);
        software[16..20].copy_from_slice(&size.to_ne_bytes());
    }
    frame.extend_from_slice(&area);
    frame.extend_from_slice(&MAGIC2.to_ne_bytes());
    frame
}

/// The registers of a thread that is not inside a system call: an interrupted call is made again,
/// or has failed with `EINTR` where only the kernel knows how to go on with it.
fn to_go_on(mut registers: libc::user_regs_struct) -> libc::user_regs_struct {
    if registers.orig_rax as i64 >= 0 {
        match registers.rax as i64 {
            RESTARTS_FIRST..=RESTARTS_LAST => {
                registers.rax = registers.orig_rax;
                registers.rip -= 2;
            }
            RESTARTS_BY_BLOCK => registers.rax = i64::from(-libc::EINTR) as u64,
            _ => {}
        }
    }
    registers
}
