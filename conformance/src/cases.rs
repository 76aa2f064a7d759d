//! The cases: named ones with their outcome on Linux 6.17, and random ones with the model's.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use mremap_oracle::case::{Case, Features, Kind, Mark};
use mremap_oracle::transcript;

use crate::model::{self, Model, Moved};
use crate::run::watched;
use crate::state::State;

/// Named cases and what came of them on Linux 6.17.13: `mremap-conformance --record DIRECTORY...`.
const RECORDED: &str = include_str!("../recorded/6.17.txt");

/// A case and what Linux 6.17 does with it.
pub struct Test {
    /// Its name; random cases have a number.
    pub name: String,
    /// The rule that it tests, in a sentence.
    pub rule: String,
    /// The kernel function that contains the rule, in `mm/mremap.c`.
    pub function: &'static str,
    /// The layout and the requests.
    pub case: Case,
    /// The states before the first request and after each.
    pub expected: Vec<State>,
}

/// The named cases.
///
/// # Errors
/// The recorded outcomes are damaged.
pub fn named() -> Result<Vec<Test>> {
    RECORDED.split("\ncase ").skip(1).map(read).collect()
}

/// One recorded case: its name, the case as JSON, its states.
fn read(text: &str) -> Result<Test> {
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default().to_owned();
    let case: Case = serde_json::from_str(lines.next().unwrap_or_default())
        .with_context(|| format!("recorded case {name}"))?;
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let starts = |line: &&str| line.trim_start().starts_with('=');
    let mut expected = Vec::new();
    for chunk in lines.chunk_by(|_, next| !starts(next)) {
        expected.push(State::read(chunk).with_context(|| format!("recorded case {name}"))?);
    }
    let (rule, function) = describe(&name);
    Ok(Test { name, rule, function, case, expected })
}

/// Writes a case and its states down for [`RECORDED`].
///
/// # Errors
/// The case cannot be written as JSON.
pub fn record(name: &str, case: &Case, states: &[State]) -> Result<String> {
    Ok(format!("\ncase {name}\n{}\n{}", serde_json::to_string(case)?, written(states)))
}

/// Random moves of memory, shared memory and files: the case of a number in a run of a seed, with
/// the model's outcome. `None` where nothing is left of the case.
pub fn random(seed: u64, number: u64) -> Option<Test> {
    let mut case = transcript::portable_case(seed, number);
    for vma in &mut case.vmas {
        vma.marks.retain(|mark| !matches!(mark, Mark::DontFork | Mark::WipeOnFork));
    }
    if case.vmas.iter().any(|vma| matches!(vma.kind, Kind::ZeroPrivate | Kind::SystemV)) {
        // Whether the kernel merges what is left of such a VMA decides a second move.
        case.requests.truncate(1);
    }
    if case.requests.is_empty() || !case.vmas.iter().all(|vma| model::knows(vma.kind)) {
        return None;
    }
    let pages = watched(&case);
    let mut model = Model::new(&case);
    let mut expected = vec![model.state(0, &pages)];
    let mut moves = Vec::new();
    for request in &case.requests {
        let moved = model.mremap(request);
        expected.push(model.state(moved.result, &pages));
        moves.push(moved);
    }
    let (rule, function) = describe_random(&case, &moves);
    Some(Test { name: format!("random {number}"), rule, function, case, expected })
}

fn written(states: &[State]) -> String {
    let mut text = String::new();
    for state in states {
        state.write(&mut text);
    }
    text
}

/// A number that differs when the states do (FNV-1a of their text).
pub fn digest(states: &[State]) -> u64 {
    written(states).bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Why a case cannot be run here: a kind or mark that this kernel, or the process's privileges,
/// lack.
pub fn missing(case: &Case, features: Features) -> Option<String> {
    let mut names = BTreeSet::new();
    let name = |json: serde_json::Result<String>| json.unwrap_or_default().replace('"', "");
    for vma in &case.vmas {
        if !features.has(vma.kind) {
            names.insert(name(serde_json::to_string(&vma.kind)));
        }
        for mark in vma.marks.iter().filter(|&&mark| !features.has(mark)) {
            names.insert(name(serde_json::to_string(mark)));
        }
    }
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
}

fn describe_random(case: &Case, moves: &[Moved]) -> (String, &'static str) {
    const DONTUNMAP: u32 = 4;
    let requests = case.requests.iter().zip(moves).map(|(request, moved)| {
        let flag = if request.flags & DONTUNMAP == 0 { "" } else { ", DONTUNMAP" };
        let count = |number: u32, name: &str| match number {
            0 => String::new(),
            1 => format!(", 1 {name}"),
            _ => format!(", {number} {name}s"),
        };
        let (parts, gaps) = (count(moved.parts, "part"), count(moved.gaps, "gap"));
        let outcome = match -moved.result {
            22 => "invalid",
            1..=4095 => "refused",
            _ => "move",
        };
        format!("{outcome}{parts}{gaps}{flag}")
    });
    let requests: Vec<String> = requests.collect();
    let is_invalid = matches!(moves, [Moved { result: -22, .. }]);
    let function = if is_invalid { "check_mremap_params" } else { "remap_move" };
    (requests.join("; then "), function)
}

/// The rule that a named case tests, and the kernel function that contains it.
fn describe(name: &str) -> (String, &'static str) {
    const KINDS: [(&str, &str, &str); 6] = [
        ("bpf_map", "a BPF map", "vma_multi_allowed"),
        ("dev_zero", "a private mapping of /dev/zero", "vma_multi_allowed"),
        ("ramfs", "a file on ramfs", "vma_multi_allowed"),
        ("sealed", "a sealed VMA", "check_prep_vma"),
        ("system_v", "a System V segment", "vma_multi_allowed"),
        ("userfaultfd", "a VMA registered with userfaultfd", "vma_multi_allowed"),
    ];
    const PLACES: [(&str, &str); 10] = [
        ("alone", "alone"),
        ("alone_with_a_trailing_gap", "alone, with a trailing gap"),
        ("first", "as the first of several"),
        ("first_dontunmap", "as the first of several, with DONTUNMAP"),
        ("first_two_pages_reach_the_end", "a range that ends inside it"),
        ("last", "as the last of several"),
        ("last_dontunmap", "as the last of several, with DONTUNMAP"),
        ("middle", "between others"),
        ("middle_dontunmap", "between others, with DONTUNMAP"),
        ("part_of_it_alone", "a part of it alone"),
    ];
    for (prefix, kind, function) in KINDS {
        let Some(place) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
            continue;
        };
        if let Some((_, place)) = PLACES.iter().find(|(known, _)| *known == place) {
            return (format!("{kind}: {place}"), function);
        }
    }
    let known = RULES.iter().find(|(known, ..)| *known == name);
    known.map_or((name.replace('_', " "), "remap_move"), |&(_, rule, function)| {
        (rule.to_owned(), function)
    })
}

const RULES: [(&str, &str, &str); 31] = [
    ("copy_on_write_pages_of_a_forked_child", "move: pages shared with a parent", "remap_move"),
    (
        "destination_ends_a_page_beyond_task_size",
        "invalid: the destination ends beyond TASK_SIZE",
        "check_mremap_params",
    ),
    ("destination_ends_at_task_size", "move: the destination ends at TASK_SIZE", "remap_move"),
    (
        "destination_right_behind_merges",
        "move: the destination is next to the source",
        "remap_move",
    ),
    ("dontunmap_of_locked_memory", "DONTUNMAP: locked memory", "move_vma"),
    ("dontunmap_without_fixed", "DONTUNMAP: an address of the kernel's choice", "move_vma"),
    ("duplicate_of_shared_memory", "resize: old_len 0 duplicates shared memory", "mremap_to"),
    ("gap_of_a_tebibyte", "gap: a tebibyte between two VMAs", "remap_move"),
    ("gap_keeps_what_is_under_its_target", "gap: what is under its target stays", "remap_move"),
    ("guard_region_moves_along", "move: a guard region", "remap_move"),
    ("huge_page_cut_in_its_middle", "move: a range that ends inside a huge page", "remap_move"),
    ("huge_page_misaligned_later", "move: huge pages to a misaligned target", "remap_move"),
    ("grow_in_place", "resize: grow where there is room", "mremap_at"),
    ("grow_moves", "resize: grow where there is none, with MAYMOVE", "mremap_at"),
    ("grow_without_room", "resize: grow where there is none", "mremap_at"),
    ("leading_gap_leaves_the_destination", "EFAULT: nothing mapped at old", "remap_move"),
    ("lengths_that_round_equal", "move: lengths equal once rounded", "vrm_move_only"),
    (
        "moved_part_merges_with_the_next_source",
        "move: a moved part is next to the source that follows",
        "remap_move",
    ),
    ("ranges_overlap_though_no_part_does", "invalid: the ranges overlap", "vrm_overlaps"),
    ("resize_of_several_vmas", "EFAULT: a resize over several VMAs", "check_prep_vma"),
    ("resize_to_a_fixed_address", "resize: to a fixed address", "mremap_to"),
    ("sealed_and_vdso_after_gaps", "a sealed VMA: after gaps, before the vDSO", "check_prep_vma"),
    ("sealed_destination_of_a_later_part", "a sealed VMA: under a later target", "mremap_to"),
    ("sealed_mapping_under_a_gap_stays", "a sealed VMA: under a gap's target", "remap_move"),
    ("shrink_in_place", "resize: shrink in place", "shrink_vma"),
    ("shrink_over_several_vmas", "resize: shrink over several VMAs", "shrink_vma"),
    ("sixty_four_vmas_alternating", "move: 64 VMAs", "remap_move"),
    ("source_ends_beyond_task_size", "move: the source ends beyond TASK_SIZE", "remap_move"),
    (
        "trailing_gap_reaches_beyond_task_size",
        "invalid: a trailing gap's target is beyond TASK_SIZE",
        "check_mremap_params",
    ),
    (
        "unaligned_new_with_nothing_mapped",
        "invalid before EFAULT: new is not page-aligned, nothing is mapped",
        "do_mremap",
    ),
    (
        "userfaultfd_in_a_forked_child",
        "move: a child does not inherit a registration with userfaultfd",
        "vma_multi_allowed",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// `mremap-conformance --digests` on Linux 6.17.13.
    const DIGESTS: &str = include_str!("../recorded/random-6.17.txt");

    #[test]
    fn the_model_does_what_linux_6_17_did() {
        let digests = DIGESTS.lines().filter_map(|line| line.split_once(": "));
        let mut compared = 0;
        for (name, recorded) in digests {
            let number = name.trim_start_matches("random ").parse().unwrap();
            let test = random(1, number).unwrap();
            assert_eq!(format!("{:016x}", digest(&test.expected)), recorded, "{name}");
            compared += 1;
        }
        assert!(compared > 1000, "{compared} cases");
    }

    #[test]
    fn recorded_cases_are_those_of_the_files() {
        let named = named().unwrap();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for directory in [root.join("../oracle/named"), root.join("named")] {
            for path in mremap_oracle::named::files(&directory).unwrap() {
                let case = mremap_oracle::named::read(&path).unwrap();
                let name = path.file_stem().unwrap().to_string_lossy();
                // A case of the oracle may wait for the next recording.
                let recorded = named.iter().find(|test| test.name == name);
                assert!(recorded.is_some() || !directory.ends_with("conformance/named"), "{name}");
                if let Some(recorded) = recorded {
                    assert_eq!(recorded.case, case, "{name}: record it again");
                }
            }
        }
    }
}
