//! Draws a case as text: each request, and the mappings after it, by the kernel and by the library.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::case::{Case, PAGE, Request};
use crate::observation::{Class, FLAGS, Mapping, Observation, State, UNREADABLE};
use crate::pair::Outcomes;

/// Draws a case. Where the outcomes differ, both are drawn.
pub fn draw(case: &Case, outcomes: &Outcomes) -> String {
    let native = Observation::decode(&outcomes.native);
    let emulated = Observation::decode(&outcomes.emulated);
    let mut text = String::new();
    if case.forked {
        let _ = writeln!(text, "in a child forked after the layout");
    }

    if native.status != emulated.status {
        let _ = writeln!(
            text,
            "the child ended with status {:#x} natively, {:#x} emulated",
            native.status, emulated.status
        );
    }
    let mut names = Names::default();
    let count = native.states.len().max(emulated.states.len());
    for index in 0..count {
        let pair = (native.states.get(index), emulated.states.get(index));
        if index > 0
            && let Some(request) = case.requests.get(index - 1)
        {
            let _ = writeln!(text, "request {index}: {}", request_text(request));
        }
        match pair {
            (Some(native), Some(emulated)) if native == emulated => {
                state(&mut text, if index == 0 { "before" } else { "both" }, native, &mut names);
            }
            (native, emulated) => {
                for (who, seen) in [("kernel", native), ("shim", emulated)] {
                    match seen {
                        Some(seen) => state(&mut text, who, seen, &mut names),
                        None => drop(writeln!(text, "  {who}: no state")),
                    }
                }
            }
        }
    }
    text
}

/// Formats a request as a C call, with its flags by name.
pub fn request_text(request: &Request) -> String {
    let names = [(1, "MAYMOVE"), (2, "FIXED"), (4, "DONTUNMAP")];
    let mut flags: Vec<String> = names
        .iter()
        .filter(|(bit, _)| request.flags & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if request.flags & !7 != 0 {
        flags.push(format!("{:#x}", request.flags & !7));
    }
    format!(
        "mremap({:#x}, {:#x}, {:#x}, {}, {:#x})",
        request.old,
        request.old_len,
        request.new_len,
        if flags.is_empty() { "0".to_owned() } else { flags.join("|") },
        request.new
    )
}

fn state(text: &mut String, who: &str, state: &State, names: &mut Names) {
    let outcome = if state.result == u64::MAX {
        format!("errno {}", state.errno)
    } else {
        format!("{:#x}", state.result)
    };
    let _ = writeln!(text, "  {who}: {outcome}");
    let mut before = 0;
    for mapping in &state.mappings {
        let pages = ((mapping.end - mapping.start) / PAGE) as usize;
        let content = state.pages.get(before..before + pages).unwrap_or_default();
        before += pages;
        let _ = writeln!(text, "    {}{}", mapping_text(mapping), names.of_pages(content));
    }
}

fn mapping_text(mapping: &Mapping) -> String {
    let flags: Vec<&str> = FLAGS
        .iter()
        .enumerate()
        .filter(|(index, _)| mapping.flags & 1 << index != 0)
        .filter_map(|(_, pair)| std::str::from_utf8(*pair).ok())
        .collect();
    let object = if mapping.class == Class::Memory {
        String::new()
    } else {
        format!(" {:?} {} + {:#x}", mapping.class, mapping.object, mapping.offset)
    };
    format!("{:#x}-{:#x} {}{object}", mapping.start, mapping.end, flags.join(" "))
}

/// Letters for page contents, the same throughout a picture.
#[derive(Default)]
struct Names(BTreeMap<u64, usize>);

impl Names {
    fn of_pages(&mut self, pages: &[u64]) -> String {
        const MAX_PAGES: usize = 32;
        if pages.is_empty() {
            return String::new();
        }
        let shown: String = pages.iter().take(MAX_PAGES).map(|&page| self.of(page)).collect();
        let rest = if pages.len() > MAX_PAGES { "…" } else { "" };
        format!("  [{shown}{rest}]")
    }

    fn of(&mut self, page: u64) -> char {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        if page == UNREADABLE {
            return '-';
        }
        let next = self.0.len();
        let index = *self.0.entry(page).or_insert(next);
        char::from(LETTERS[index % LETTERS.len()])
    }
}
