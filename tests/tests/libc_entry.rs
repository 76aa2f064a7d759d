//! The code that the preload library patches in libc, checked with a disassembler and against the
//! libc of this machine: it is `mremap` and nothing else, and no branch leads into the bytes that a
//! jump replaces.
#![cfg(target_arch = "x86_64")]

#[path = "../../shim/src/hooks/libc_calls/shape.rs"]
mod shape;

use std::collections::BTreeSet;
use std::fs;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};
use mremap_tests::need;
use object::{Object as _, ObjectSymbol as _};
use shape::{Bytes, ENDBR64, SHAPES, jump_offset};

/// Bytes of a jump.
const JUMP: u64 = 5;

/// The code of a function of this shape, with `distance` for all distances.
fn code_at_distance(shape: &[Bytes], distance: i32) -> Vec<u8> {
    let bytes = shape.iter().flat_map(|bytes| match bytes {
        Bytes::Code(exact) => exact.to_vec(),
        Bytes::Distance => distance.to_le_bytes().to_vec(),
    });
    bytes.collect()
}

fn instructions(code: &[u8]) -> Vec<Instruction> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut found = Vec::new();
    while decoder.can_decode() {
        found.push(decoder.decode());
    }
    found
}

#[test]
fn shapes_are_whole_functions_with_one_system_call_and_no_branch_under_the_jump() {
    for shape in SHAPES {
        let code = code_at_distance(shape, 0x1234_5678);
        let found = instructions(&code);
        assert!(found.iter().all(|it| !it.is_invalid()), "{found:?}");
        let starts: BTreeSet<u64> = found.iter().map(Instruction::ip).collect();
        for branch in found.iter().filter(|it| {
            matches!(
                it.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            )
        }) {
            let target = branch.near_branch_target();
            assert!(starts.contains(&target), "{branch} leads outside, or into an instruction");
            assert!(target >= JUMP, "{branch} leads under the jump");
        }
        assert!(
            !found.iter().any(|it| matches!(
                it.flow_control(),
                FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Interrupt
            )),
            "{found:?}"
        );
        let calls: Vec<usize> = found
            .iter()
            .enumerate()
            .filter(|(_, it)| it.code() == Code::Syscall)
            .map(|(index, _)| index)
            .collect();
        let [call] = calls[..] else {
            panic!("{} system calls", calls.len());
        };
        let number = &found[call - 1];
        assert_eq!(
            (number.code(), number.op0_register(), number.immediate32()),
            (Code::Mov_r32_imm32, Register::EAX, 25),
            "{number}"
        );
        let last = found.last().expect("an instruction");
        let ends = last.flow_control() == FlowControl::Return || last.is_call_near();
        assert!(ends, "{last} continues behind the end");
    }
}

#[test]
fn distances_are_whole_operands() {
    for shape in SHAPES {
        let [near, far] =
            [0x10, 0x7654_3210].map(|distance| instructions(&code_at_distance(shape, distance)));
        assert_eq!(near.len(), far.len());
        for (near, far) in near.iter().zip(&far) {
            assert_eq!(
                (near.ip(), near.code(), near.op0_register()),
                (far.ip(), far.code(), far.op0_register())
            );
            let differs = near != far;
            let has_distance = near.is_ip_rel_memory_operand() || near.is_call_near();
            assert_eq!(differs, has_distance, "{near} {far}");
        }
    }
}

/// How many bytes of a function can change while it stays known.
fn bytes_that_may_differ(code: &[u8]) -> usize {
    let accepted = |index: &usize| {
        let mut changed = code.to_vec();
        changed[*index] ^= 0x10;
        jump_offset(&changed).is_some()
    };
    (0..code.len()).filter(accepted).count()
}

#[test]
fn any_other_byte_makes_a_function_unknown() {
    for shape in SHAPES {
        let code = code_at_distance(shape, 77);
        let distances = shape.iter().filter(|bytes| matches!(bytes, Bytes::Distance)).count();
        assert_eq!(jump_offset(&code), Some(0));
        assert_eq!(bytes_that_may_differ(&code), 4 * distances);
        let enforced = [ENDBR64, &code].concat();
        assert_eq!(jump_offset(&enforced), Some(ENDBR64.len()), "behind endbr64");
        for end in 0..code.len() {
            assert_eq!(jump_offset(&code[..end]), None, "cut at {end}");
        }
        assert!(code.len() + ENDBR64.len() <= shape::LONGEST);
    }
}

#[test]
fn knows_mremap_and_no_other_function_of_this_libc() {
    let Some(path) = need::file("/lib/x86_64-linux-gnu/libc.so.6", "libc6") else {
        return;
    };
    let bytes = fs::read(path).expect("libc is readable");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let known: BTreeSet<&str> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition() && symbol.kind() == object::SymbolKind::Text)
        .filter(|symbol| {
            let start = symbol.address() as usize;
            bytes.get(start..start + shape::LONGEST).and_then(jump_offset).is_some()
        })
        .map(|symbol| symbol.name().expect("a name"))
        .collect();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["mremap"]);
}
