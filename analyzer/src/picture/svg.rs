//! The same picture as a self-contained SVG, for light and dark backgrounds.

use std::fmt::Write;

use mremap_trace::Under;

use super::{Segment, segments};
use crate::model::Event;
use crate::model::units::size;

/// Width of the drawing, in SVG units, as are all lengths here.
const WIDTH: f64 = 1000.0;
/// Left and right margin.
const MARGIN: f64 = 10.0;
/// Height of a box.
const ROW: f64 = 46.0;
/// Width of a letter of an address.
const LETTER: f64 = 6.7;
/// Least width of a box.
const NARROWEST: f64 = 2.0;
/// Segments drawn; of more, the middle is left out.
const MAX_SEGMENTS: usize = 400;

/// Colours by class, for light and dark colour schemes.
const STYLE: &str = "text{font:13px ui-monospace,monospace;fill:#222}.m{fill:#777;font-size:11px}\
.p{fill:#cfe8d5;stroke:#2a7a45}.f{fill:#f3c9c9;stroke:#b02a2a}.k{fill:#f2e3b8;stroke:#a5801a}\
.g{fill:none;stroke:#999;stroke-dasharray:4 3}.u{fill:#8883;stroke:none}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.m{fill:#999}.p{fill:#1f4a2d;stroke:#6cc48a}\
.f{fill:#5a2020;stroke:#e08080}.k{fill:#4d4018;stroke:#d8b958}}";

/// A whole SVG document. Screen readers read its title.
pub fn document(event: &Event, title: &str) -> String {
    let lines = title.lines().count();
    let height = 20.0 * lines as f64 + 2.0 * (ROW + 50.0) + 20.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\">\
         <title>{0}</title><style>{STYLE}</style>",
        escape(title.lines().next().unwrap_or_default())
    );
    for (index, line) in title.lines().enumerate() {
        let _ =
            write!(text, "<text x=\"{MARGIN}\" y=\"{}\">{}</text>", 18 + 20 * index, escape(line));
    }
    text.push_str(&rows(event, 20.0 * lines as f64 + 20.0));
    text.push_str("</svg>\n");
    text
}

/// The rows of source and destination, from `top` down.
fn rows(event: &Event, top: f64) -> String {
    let mut segments = segments(event);
    if segments.len() > MAX_SEGMENTS {
        segments.drain(MAX_SEGMENTS / 2..segments.len() - MAX_SEGMENTS / 2);
    }
    let total: u64 = segments.iter().map(Segment::len).fold(0, u64::saturating_add);
    let fixed = NARROWEST * segments.len() as f64;
    let scale = (WIDTH - 2.0 * MARGIN - fixed).max(1.0) / total.max(1) as f64;
    let mut text = String::new();
    for (row, destination) in [(0.0, false), (1.0, true)] {
        let y = top + row * (ROW + 50.0) + 18.0;
        let start = if destination { event.call.new } else { event.call.old };
        let _ = write!(
            text,
            "<text class=\"m\" x=\"{MARGIN}\" y=\"{}\">{} {start:#x} .. {:#x}</text>",
            y - 6.0,
            if destination { "destination" } else { "source" },
            start.wrapping_add(event.call.old_len)
        );
        let mut x = MARGIN;
        // The ends of two lines of addresses: an address that fits in neither is left out.
        let mut ends = [0.0; 2];
        for segment in &segments {
            let width = NARROWEST + segment.len() as f64 * scale;
            text.push_str(&drawn(event, segment, destination, (x, y, width)));
            if matches!(segment, Segment::Part { .. }) {
                let shift = start.wrapping_sub(event.call.old);
                let label = format!("{:#x}", segment.start().wrapping_add(shift));
                let wide = label.len() as f64 * LETTER;
                let left = x.min(WIDTH - MARGIN - wide);
                if let Some(line) = ends.iter().position(|end| *end < left) {
                    ends[line] = left + wide + LETTER;
                    let y = y + ROW + 14.0 + 14.0 * line as f64;
                    let _ = write!(
                        text,
                        "<text class=\"m\" x=\"{left:.1}\" y=\"{y:.1}\">{label}</text>"
                    );
                }
            }
            x += width;
        }
    }
    text
}

fn drawn(
    event: &Event,
    segment: &Segment,
    destination: bool,
    (x, y, width): (f64, f64, f64),
) -> String {
    let (class, label) = match segment {
        Segment::Part { failed: true, .. } if destination => return String::new(),
        Segment::Part { name, failed: true, .. } => ("f", format!("{name}!")),
        Segment::Part { name, .. } if destination => ("p", format!("{name}'")),
        Segment::Part { name, .. } => ("p", name.clone()),
        Segment::Gap { under: Under::Mapped, .. } if destination => ("k", "kept".to_owned()),
        Segment::Gap { .. } => ("g", String::new()),
        Segment::Unseen { .. } => ("u", String::new()),
    };
    let start = segment.start();
    let place = if destination { event.target(start) } else { start };
    let mut text = format!(
        "<g><title>{} {place:#x}, {}</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{ROW}\"/>",
        escape(&label),
        size(segment.len())
    );
    if label.len() as f64 * 8.0 + 6.0 < width {
        let _ = write!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x + width / 2.0,
            y + ROW / 2.0 + 4.0,
            escape(&label)
        );
    }
    text.push_str("</g>");
    text
}

/// Escapes text for XML and HTML; control characters are replaced.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(' '),
            other if other.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}
