//! An event as the stretches that are drawn of it.

use mremap_trace::Outcome;

use super::Stretch;
use crate::model::Event;

/// The range from end to end: parts, gaps, and what nobody looked at, in address order.
pub fn stretches(event: &Event) -> Vec<Stretch> {
    let call = &event.call;
    let mut found: Vec<Stretch> = event
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| Stretch::Part {
            name: name_of(index),
            start: part.start,
            end: part.end,
            failed: part.errno != 0,
        })
        .collect();
    if found.is_empty() && call.outcome == Outcome::OneVma {
        found.push(Stretch::Part {
            name: name_of(0),
            start: call.old,
            end: call.old.saturating_add(call.old_len),
            failed: call.errno().is_some(),
        });
    }
    found.extend(event.gaps.iter().map(|gap| Stretch::Gap {
        start: gap.start,
        end: gap.end,
        under: gap.under,
    }));
    found.sort_by_key(Stretch::start);
    let mut whole = Vec::with_capacity(found.len() + 1);
    let mut reached = call.old;
    for stretch in found {
        if stretch.start() > reached {
            whole.push(Stretch::Unseen { start: reached, end: stretch.start() });
        }
        reached = reached.max(stretch.end());
        whole.push(stretch);
    }
    let end = call.old.saturating_add(call.old_len);
    if end > reached {
        whole.push(Stretch::Unseen { start: reached, end });
    }
    whole
}

/// `A` to `Z`, then `A1` and so on.
fn name_of(index: usize) -> String {
    let letter = char::from(b'A' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
}
