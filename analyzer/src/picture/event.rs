//! The segments of an event's source range.

use mremap_trace::Outcome;

use super::Segment;
use crate::model::Event;

/// Cuts the source range into parts, gaps and unseen segments, in address order.
pub fn segments(event: &Event) -> Vec<Segment> {
    let call = &event.call;
    let mut found: Vec<Segment> = event
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| Segment::Part {
            name: name_of(index),
            start: part.start,
            end: part.end,
            failed: part.errno != 0,
        })
        .collect();
    if found.is_empty() && call.outcome == Outcome::OneVma {
        found.push(Segment::Part {
            name: name_of(0),
            start: call.old,
            end: call.old.saturating_add(call.old_len),
            failed: call.errno().is_some(),
        });
    }
    found.extend(event.gaps.iter().map(|gap| Segment::Gap {
        start: gap.start,
        end: gap.end,
        under: gap.under,
    }));
    found.sort_by_key(Segment::start);
    let mut whole = Vec::with_capacity(found.len() + 1);
    let mut reached = call.old;
    for segment in found {
        if segment.start() > reached {
            whole.push(Segment::Unseen { start: reached, end: segment.start() });
        }
        reached = reached.max(segment.end());
        whole.push(segment);
    }
    let end = call.old.saturating_add(call.old_len);
    if end > reached {
        whole.push(Segment::Unseen { start: reached, end });
    }
    whole
}

/// `A` to `Z`, then `A1` and so on.
fn name_of(index: usize) -> String {
    let letter = char::from(b'A' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
}
