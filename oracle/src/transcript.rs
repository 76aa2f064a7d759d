//! Writes cases and their outcomes as text. Every kernel with the multi-VMA move produces the same
//! text, and so must the library on other kernels.
//!
//! Omitted is what differs between kernels with the feature: calls that are not moves, the end of
//! the address space (which depends on the levels of page tables), locks, and newer flags.

use std::fmt::Write as _;

use anyhow::Result;

use crate::case::{Case, Features, Kind, PAGE, Request};
use crate::observation::{Class, FLAGS, Mapping, Observation, State, UNREADABLE, UNTOUCHED};
use crate::rules::SPACE;
use crate::runner::Runner;
use crate::{generate, picture};

const DONTUNMAP: u32 = 4;
/// Flags that every kernel shows.
const PORTABLE_FLAGS: [&[u8; 2]; 8] = [b"rd", b"wr", b"ex", b"sh", b"gd", b"dc", b"dd", b"wf"];
/// What Linux 5.10 to 5.12 do not support.
pub const DONTUNMAP_OF_FILES: &str = "DONTUNMAP of shared memory or files";

/// Draws case `number`, without what is not portable.
pub fn portable_case(seed: u64, number: u64) -> Case {
    let mut case = generate::case(seed, number, Features::portable());
    case.vmas.truncate(14);
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

/// Runs case `number` in a child and returns its text.
pub fn write(runner: &mut Runner, seed: u64, number: u64) -> Result<String> {
    let case = portable_case(seed, number);
    let observation = Observation::decode(&runner.run(&case)?);
    let mut text = format!("case {number}");
    if needs(&case).is_some() {
        let _ = write!(text, ", needs {DONTUNMAP_OF_FILES}");
    }
    if observation.status != 0 {
        let _ = write!(text, ", ended with status {:#x}", observation.status);
    }
    text.push('\n');
    for (request, state) in case.requests.iter().zip(observation.states.iter().skip(1)) {
        let _ = writeln!(text, " {}", picture::request_text(request));
        write_state(&mut text, state);
    }
    Ok(text)
}

/// What a case needs that some kernel does not support.
fn needs(case: &Case) -> Option<&'static str> {
    let is_memory = |kind: Kind| matches!(kind, Kind::Anon | Kind::GrowsDown);
    let is_emptying = case.requests.iter().any(|request| request.flags & DONTUNMAP != 0);
    let has_others = case.vmas.iter().any(|vma| !is_memory(vma.kind));
    (is_emptying && has_others).then_some(DONTUNMAP_OF_FILES)
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
        let shown = portable_mapping(mapping);
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

/// The mapping with only the flags that every kernel shows.
fn portable_mapping(mapping: &Mapping) -> Mapping {
    let kept =
        |(index, flag): (usize, &&[u8; 2])| PORTABLE_FLAGS.contains(flag).then_some(1 << index);
    let mask: u64 = FLAGS.iter().enumerate().filter_map(kept).sum();
    Mapping { flags: mapping.flags & mask, ..*mapping }
}

fn letters(mapping: &Mapping) -> String {
    let mut text: String = PORTABLE_FLAGS
        .iter()
        .filter(|pair| mapping.has(***pair))
        .map(|pair| String::from_utf8_lossy(*pair).into_owned())
        .collect();
    if mapping.class != Class::Memory {
        let _ = write!(text, " {:?}{}+{:x}", mapping.class, mapping.object, mapping.offset / PAGE);
    }
    text + ":"
}
