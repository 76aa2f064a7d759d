//! Unwinding of recorded stack words on x86-64, by the modules' unwind tables (`.eh_frame`).
//!
//! The library records the words of a stack that point into the stack or into code. They contain
//! every return address and every saved frame pointer, which is all that the rules of compiled code
//! read.

use std::cell::RefCell;
use std::collections::HashMap;

use addr2line::gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameOffset, Encoding, EndianSlice, Evaluation,
    EvaluationResult, Format, Location, NativeEndian, Register, RegisterRule, UnwindContext,
    UnwindExpression, UnwindSection, UnwindTableRow, Value, X86_64,
};
use mremap_trace::StackWords;

/// Limit on frames of one stack.
const MAX_FRAMES: usize = 256;
/// Bytes of a word.
const WORD: u64 = 8;

type Slice<'a> = EndianSlice<'a, NativeEndian>;

/// The registers that a frame is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Address of the next instruction.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
}

/// The recorded words of a stack.
pub struct StackMemory {
    /// The caller's registers once the call has returned, except `ip`.
    sp: u64,
    fp: u64,
    words: HashMap<u64, u64>,
}

impl StackMemory {
    /// Reads the entries of a call's stack records; `None` if there are no registers.
    pub fn of(entries: &[u64]) -> Option<Self> {
        let (registers, words) = entries.split_at_checked(2)?;
        let [sp, fp] = [registers.first()?, registers.last()?].map(|&it| StackWords::split(it).1);
        let mut address = sp;
        let mut memory = Self { sp, fp, words: HashMap::new() };
        for entry in words {
            let (distance, value) = StackWords::split(*entry);
            address = address.wrapping_add(u64::from(distance) * WORD);
            if value != 0 {
                memory.words.insert(address, value);
            }
        }
        Some(memory)
    }

    fn read(&self, address: u64) -> Option<u64> {
        self.words.get(&address).copied()
    }

    /// Returns the return addresses above `caller`, innermost first. `step` finds the registers of
    /// the next frame by unwind tables; without them, frame pointers are followed.
    pub fn unwind(
        &self,
        caller: u64,
        mut step: impl FnMut(Registers, &Self) -> Option<Registers>,
    ) -> Vec<u64> {
        let mut registers = Registers { ip: caller, sp: self.sp, fp: self.fp };
        let mut frames = Vec::new();
        while frames.len() < MAX_FRAMES {
            let next = step(registers, self).or_else(|| self.step_by_frame_pointer(registers));
            let Some(next) = next.filter(|next| next.sp > registers.sp && next.ip != 0) else {
                break;
            };
            frames.push(next.ip);
            registers = next;
        }
        frames
    }

    /// Finds the caller of one of `CPython`'s trampolines. Up to 3.14 they only align the stack
    /// (`sub $8,%rsp; call *%rcx`); later ones save and set the frame pointer. In both cases the
    /// return address is above one word.
    pub fn step_out_of_trampoline(&self, Registers { sp, fp, .. }: Registers) -> Option<Registers> {
        let ip = self.read(sp.checked_add(WORD)?)?;
        let fp = if fp == sp { self.read(sp).unwrap_or(0) } else { fp };
        Some(Registers { ip, sp: sp + 2 * WORD, fp })
    }

    fn step_by_frame_pointer(&self, Registers { sp, fp, .. }: Registers) -> Option<Registers> {
        let ip = self.read(fp.checked_add(WORD)?).filter(|_| fp >= sp)?;
        Some(Registers { ip, sp: fp + 2 * WORD, fp: self.read(fp).unwrap_or(0) })
    }
}

/// The unwind table of a module.
pub struct UnwindTable {
    eh_frame: Vec<u8>,
    address: u64,
    bases: BaseAddresses,
    rows: RefCell<HashMap<u64, Option<UnwindTableRow<usize>>>>,
}

impl UnwindTable {
    /// Makes a table of the `.eh_frame` section's bytes and address.
    pub fn new(eh_frame: Vec<u8>, address: u64) -> Self {
        let bases = BaseAddresses::default().set_eh_frame(address);
        Self { eh_frame, address, bases, rows: RefCell::default() }
    }

    /// Returns the section's bytes and address.
    pub fn parts(&self) -> (&[u8], u64) {
        (&self.eh_frame, self.address)
    }

    /// Finds the caller's registers. `address` is a virtual address of the module inside the call
    /// instruction, `None` if the table has no row for it.
    pub fn step(
        &self,
        address: u64,
        registers: Registers,
        memory: &StackMemory,
    ) -> Option<Registers> {
        let mut rows = self.rows.borrow_mut();
        let row = rows.entry(address).or_insert_with(|| self.row(address)).as_ref()?;
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                register_of(registers, *register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => {
                self.evaluate(expression, None, registers, memory)?
            }
        };
        let restored = |register, default| {
            let rule = row.register(register);
            self.restore(rule.as_ref(), default, cfa, registers, memory)
        };
        Some(Registers {
            ip: restored(X86_64::RA, None)?,
            sp: restored(X86_64::RSP, Some(cfa)).unwrap_or(cfa),
            fp: restored(X86_64::RBP, Some(registers.fp)).unwrap_or(0),
        })
    }

    fn section(&self) -> EhFrame<Slice<'_>> {
        EhFrame::new(&self.eh_frame, NativeEndian)
    }

    fn row(&self, address: u64) -> Option<UnwindTableRow<usize>> {
        let mut context = UnwindContext::new();
        let get_cie = |section: &EhFrame<_>, bases: &_, offset: EhFrameOffset| {
            section.cie_from_offset(bases, offset)
        };
        let section = self.section();
        let row =
            section.unwind_info_for_address(&self.bases, &mut context, address, get_cie).ok()?;
        Some(row.clone())
    }

    fn restore(
        &self,
        rule: Option<&RegisterRule<usize>>,
        default: Option<u64>,
        cfa: u64,
        registers: Registers,
        memory: &StackMemory,
    ) -> Option<u64> {
        match rule {
            None | Some(RegisterRule::SameValue) => default,
            Some(RegisterRule::Offset(offset)) => memory.read(cfa.wrapping_add_signed(*offset)),
            Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(*offset)),
            Some(RegisterRule::Register(register)) => register_of(registers, *register),
            Some(RegisterRule::Expression(expression)) => {
                memory.read(self.evaluate(expression, Some(cfa), registers, memory)?)
            }
            Some(RegisterRule::ValExpression(expression)) => {
                self.evaluate(expression, Some(cfa), registers, memory)
            }
            _ => None,
        }
    }

    fn evaluate(
        &self,
        expression: &UnwindExpression<usize>,
        initial: Option<u64>,
        registers: Registers,
        memory: &StackMemory,
    ) -> Option<u64> {
        let encoding = Encoding { address_size: WORD as u8, format: Format::Dwarf32, version: 4 };
        let bytecode = expression.get(&self.section()).ok()?;
        let mut evaluation: Evaluation<Slice<'_>> = bytecode.evaluation(encoding);
        evaluation.set_max_iterations(1000);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = register_of(registers, register)?;
                    evaluation.resume_with_register(Value::Generic(value)).ok()?
                }
                EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                    let value = memory.read(address)?;
                    evaluation.resume_with_memory(Value::Generic(value)).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.result().first()?.location {
            Location::Address { address } => Some(address),
            _ => None,
        }
    }
}

fn register_of(registers: Registers, register: Register) -> Option<u64> {
    match register {
        X86_64::RSP => Some(registers.sp),
        X86_64::RBP => Some(registers.fp),
        X86_64::RA => Some(registers.ip),
        _ => None,
    }
}
