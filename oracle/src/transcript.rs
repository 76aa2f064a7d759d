//! Cases and what came of them as text that is the same on every kernel that moves as Linux 6.17 does: made where
//! the kernel has the feature, reproduced by the shim where it has not.
//!
//! Left out is what kernels differ in beside the move: calls that are no moves, the end of the address space
//! (which five-level page tables put elsewhere), locks, and flags that newer kernels show.

use std::fmt::Write as _;

use anyhow::Result;

use crate::case::{Case, Features, Kind, PAGE, Request};
use crate::observation::{Class, FLAGS, Mapping, Observation, State, UNREADABLE, UNTOUCHED};
use crate::rules::SPACE;
use crate::runner::Runner;
use crate::{generate, picture};

const DONTUNMAP: u32 = 4;
/// Flags that every kernel shows alike.
const SHOWN: [&[u8; 2]; 8] = [b"rd", b"wr", b"ex", b"sh", b"gd", b"dc", b"dd", b"wf"];
/// A case that `needs` this cannot be reproduced by 5.10 to 5.12.
pub const DONTUNMAP_OF_FILES: &str = "DONTUNMAP of shared memory or files";

/// The cases of a transcript: numbered ones, without what is not portable.
pub fn portable_case(seed: u64, number: u64) -> Case {
    let mut case = generate::case(seed, number, Features::portable());
    case.pieces.truncate(14);
    case.requests.retain(is_portable);
    case
}

fn is_portable(request: &Request) -> bool {
    const FOUR_LEVELS: u64 = 1 << 47;
    const FIVE_LEVELS: u64 = 1 << 56;
    let between = |end: u64| (FOUR_LEVELS - PAGE..=FIVE_LEVELS).contains(&end);
    let len = SPACE.page_align(request.new_len);
    request.for_plan().is_move(SPACE) && !between(len) && !between(request.new.saturating_add(len))
}

/// Carries a case out in this process's child and writes it down.
pub fn write(runner: &mut Runner, seed: u64, number: u64) -> Result<String> {
    let case = portable_case(seed, number);
    let observation = Observation::decode(&runner.carry_out(&case)?);
    let mut text = format!("case {number}");
    if needs(&case).is_some() {
        let _ = write!(text, ", needs {DONTUNMAP_OF_FILES}");
    }
    if observation.status != 0 {
        let _ = write!(text, ", ended with status {:#x}", observation.status);
    }
    text.push('\n');
    for (request, state) in case.requests.iter().zip(observation.states.iter().skip(1)) {
        let _ = writeln!(text, " {}", picture::shown_request(request));
        write_state(&mut text, state);
    }
    Ok(text)
}

/// What a case asks for that some kernel has no way to do.
fn needs(case: &Case) -> Option<&'static str> {
    let is_memory = |kind: Kind| matches!(kind, Kind::Anon | Kind::GrowsDown);
    let asks = case.requests.iter().any(|request| request.flags & DONTUNMAP != 0);
    let has_others = case.pieces.iter().any(|piece| !is_memory(piece.kind));
    (asks && has_others).then_some(DONTUNMAP_OF_FILES)
}

fn write_state(text: &mut String, state: &State) {
    if state.is_success() {
        let untouched = state.errno == UNTOUCHED as u64;
        let errno = if untouched { "" } else { ", errno changed" };
        let _ = writeln!(text, " = {:#x}{errno}", state.result);
    } else {
        let _ = writeln!(text, " = errno {}", state.errno);
    }
    let mut before = 0;
    let mut last: Option<Mapping> = None;
    for mapping in &state.mappings {
        let pages = ((mapping.end - mapping.start) / PAGE) as usize;
        let content = state.pages.get(before..before + pages).unwrap_or_default();
        before += pages;
        let shown = shown(mapping);
        if last.is_none_or(|last| !last.continues_in(&shown)) {
            if last.is_some() {
                text.push('\n');
            }
            let _ = write!(text, "  {:x} {}", shown.start / PAGE, letters(&shown));
        }
        for &page in content {
            match page {
                UNREADABLE => text.push_str(" --"),
                page => drop(write!(text, " {:02x}", page >> 8 & 0xff)),
            }
        }
        last = Some(shown);
    }
    text.push('\n');
}

/// The mapping as every kernel shows it.
fn shown(mapping: &Mapping) -> Mapping {
    let kept = |(index, flag): (usize, &&[u8; 2])| SHOWN.contains(flag).then_some(1 << index);
    let mask: u64 = FLAGS.iter().enumerate().filter_map(kept).sum();
    Mapping { flags: mapping.flags & mask, ..*mapping }
}

fn letters(mapping: &Mapping) -> String {
    let mut text: String = SHOWN
        .iter()
        .filter(|pair| mapping.has(***pair))
        .map(|pair| String::from_utf8_lossy(*pair).into_owned())
        .collect();
    if mapping.class != Class::Memory {
        let _ = write!(text, " {:?}{}+{:x}", mapping.class, mapping.object, mapping.offset / PAGE);
    }
    text + ":"
}
