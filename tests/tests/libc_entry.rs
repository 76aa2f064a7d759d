//! What the preload library takes for libc's `mremap`, held to a disassembler and to the libc of this machine: nothing
//! but that function, and no way into the bytes that give way to a jump.
#![cfg(target_arch = "x86_64")]

#[path = "../../shim/src/hooks/libc_calls/shape.rs"]
mod shape;

use std::collections::BTreeSet;
use std::fs;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};
use mremap_tests::need;
use object::{Object as _, ObjectSymbol as _};
use shape::{ENDBR64, Piece, SHAPES, place_for_jump};

/// Bytes of a jump.
const JUMP: u64 = 5;

/// A function of this shape, everything at the same distance from it.
fn code_at_distance(shape: &[Piece], distance: i32) -> Vec<u8> {
    let bytes = shape.iter().flat_map(|piece| match piece {
        Piece::Code(bytes) => bytes.to_vec(),
        Piece::Distance => distance.to_le_bytes().to_vec(),
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
fn each_shape_is_a_whole_function_with_one_system_call_and_no_way_into_its_first_bytes() {
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
            assert!(starts.contains(&target), "{branch} leads into an instruction, or away");
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
        assert!(ends, "{last} runs on behind its end");
    }
}

#[test]
fn distances_are_those_of_whole_operands() {
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

/// How many bytes of a function may be changed without its being refused.
fn bytes_that_do_not_matter(code: &[u8]) -> usize {
    let accepted = |index: &usize| {
        let mut changed = code.to_vec();
        changed[*index] ^= 0x10;
        place_for_jump(&changed).is_some()
    };
    (0..code.len()).filter(accepted).count()
}

#[test]
fn any_other_byte_makes_it_unknown() {
    for shape in SHAPES {
        let code = code_at_distance(shape, 77);
        let distances = shape.iter().filter(|piece| matches!(piece, Piece::Distance)).count();
        assert_eq!(place_for_jump(&code), Some(0));
        assert_eq!(bytes_that_do_not_matter(&code), 4 * distances);
        let enforced = [ENDBR64, &code].concat();
        assert_eq!(place_for_jump(&enforced), Some(ENDBR64.len()), "behind the mark of a target");
        for end in 0..code.len() {
            assert_eq!(place_for_jump(&code[..end]), None, "cut at {end}");
        }
        assert!(code.len() + ENDBR64.len() <= shape::ROOM);
    }
}

#[test]
fn the_libc_of_this_machine_is_known_and_its_other_functions_are_not() {
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
            bytes.get(start..start + shape::ROOM).and_then(place_for_jump).is_some()
        })
        .map(|symbol| symbol.name().expect("a name"))
        .collect();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["mremap"]);
}
