//! A range as boxes on a line, to scale: as text here, as SVG in [`svg`].

mod event;
pub mod svg;

use mremap_trace::Under;

use crate::model::units::counted;

pub use event::segments;

/// Least width of a gap or an unseen segment, in columns.
const NARROWEST: usize = 3;

/// The characters that pictures are made of.
pub struct Glyphs {
    corners: [char; 4],
    horizontal: char,
    vertical: char,
    /// Fills a mapping at the target of a gap, which stays.
    pub kept: char,
    unseen: char,
    /// Marks parts that are left out.
    pub dots: &'static str,
    coloured: bool,
}

impl Glyphs {
    /// Box-drawing characters, or ASCII ones.
    pub fn new(ascii: bool, coloured: bool) -> Self {
        if ascii {
            Self {
                corners: ['+', '+', '+', '+'],
                horizontal: '-',
                vertical: '|',
                kept: '#',
                unseen: '?',
                dots: "...",
                coloured,
            }
        } else {
            Self {
                corners: ['┌', '┐', '└', '┘'],
                horizontal: '─',
                vertical: '│',
                kept: '░',
                unseen: '·',
                dots: "…",
                coloured,
            }
        }
    }
}

/// A box `columns` wide with a label in its middle, in three lines.
pub fn single_box(glyphs: &Glyphs, columns: usize, label: &str) -> [String; 3] {
    let inner = columns.max(3) - 2;
    let [left, right, below_left, below_right] = glyphs.corners;
    let line = String::from(glyphs.horizontal).repeat(inner);
    let label = if label.len() <= inner { label } else { "" };
    [
        format!("{left}{line}{right}"),
        format!("{0}{label:^inner$}{0}", glyphs.vertical),
        format!("{below_left}{line}{below_right}"),
    ]
}

/// A segment of the source range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The intersection of one VMA with the range.
    Part {
        /// Its letter.
        name: String,
        /// Start.
        start: u64,
        /// End, exclusive.
        end: u64,
        /// Whether its move failed.
        failed: bool,
    },
    /// An unmapped hole.
    Gap {
        /// Start.
        start: u64,
        /// End, exclusive.
        end: u64,
        /// Whether its target was mapped.
        under: Under,
    },
    /// The move stopped before it, or the trace has no VMAs of it.
    Unseen {
        /// Start.
        start: u64,
        /// End, exclusive.
        end: u64,
    },
}

impl Segment {
    /// Start.
    pub fn start(&self) -> u64 {
        match self {
            Self::Part { start, .. } | Self::Gap { start, .. } | Self::Unseen { start, .. } => {
                *start
            }
        }
    }

    /// End, exclusive.
    pub fn end(&self) -> u64 {
        match self {
            Self::Part { end, .. } | Self::Gap { end, .. } | Self::Unseen { end, .. } => *end,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.end().saturating_sub(self.start())
    }

    /// Whether the trace says what was here.
    pub fn is_seen(&self) -> bool {
        !matches!(self, Self::Unseen { .. })
    }

    fn min_width(&self) -> usize {
        match self {
            Self::Part { name, .. } => name.len() + 3,
            Self::Gap { .. } | Self::Unseen { .. } => NARROWEST,
        }
    }
}

/// What a run of columns shows.
enum Shown {
    Segment(Segment),
    /// A label for segments that are left out.
    Elided(String),
}

/// Segments and the number of columns of each.
pub struct Layout {
    columns: Vec<(Shown, usize)>,
    /// The scale.
    pub bytes_per_column: u64,
    /// Number of segments drawn wider than to scale.
    pub widened: usize,
}

/// Assigns columns to the segments. Leaves out the middle if not all fit.
pub fn lay_out(segments: &[Segment], columns: usize, glyphs: &Glyphs) -> Layout {
    let needed = |segments: &[Segment]| segments.iter().map(Segment::min_width).sum::<usize>();
    if needed(segments) > columns {
        let bundled = bundle(segments);
        if needed(&bundled) <= columns {
            return spread(bundled.into_iter().map(Shown::Segment).collect(), columns);
        }
    }
    let (head, tail) = ends_that_fit(segments, columns, glyphs);
    let left_out = segments.len().saturating_sub(head + tail);
    let mut shown: Vec<Shown> = segments.iter().take(head).cloned().map(Shown::Segment).collect();
    if left_out > 0 {
        shown.push(Shown::Elided(elided(segments, head, left_out, glyphs)));
    }
    shown.extend(segments.iter().skip(head + left_out).cloned().map(Shown::Segment));
    spread(shown, columns)
}

/// Merges adjacent parts into one box, for when there is no room for each.
fn bundle(segments: &[Segment]) -> Vec<Segment> {
    let mut bundled: Vec<(Segment, String)> = Vec::new();
    for segment in segments {
        let name_of_it = match segment {
            Segment::Part { name, .. } => name.clone(),
            _ => String::new(),
        };
        match (bundled.last_mut(), segment) {
            (
                Some((Segment::Part { name, end: reached, failed: false, .. }, first)),
                Segment::Part { end, failed: false, .. },
            ) => {
                *name = format!("{first}..{name_of_it}");
                *reached = *end;
            }
            _ => bundled.push((segment.clone(), name_of_it)),
        }
    }
    bundled.into_iter().map(|(segment, _)| segment).collect()
}

/// Describes the segments that are left out: `… 12 more parts, 11 gaps …`.
pub fn left_out<'a>(middle: impl Iterator<Item = &'a Segment>, glyphs: &Glyphs) -> String {
    let (mut parts, mut gaps) = (0, 0);
    for segment in middle {
        match segment {
            Segment::Part { .. } => parts += 1,
            Segment::Gap { .. } => gaps += 1,
            Segment::Unseen { .. } => {}
        }
    }
    let gaps = match gaps {
        0 => String::new(),
        gaps => format!(", {}", counted(gaps, "gap")),
    };
    format!("{0} {1}{gaps} {0}", glyphs.dots, counted(parts, "more part"))
}

fn elided(segments: &[Segment], head: usize, left_out: usize, glyphs: &Glyphs) -> String {
    let middle = segments.iter().skip(head).take(left_out);
    format!(" {} ", self::left_out(middle, glyphs))
}

/// How many segments fit, from the front and from the back.
fn ends_that_fit(segments: &[Segment], columns: usize, glyphs: &Glyphs) -> (usize, usize) {
    let needed: usize = segments.iter().map(Segment::min_width).sum();
    if needed <= columns {
        return (segments.len(), 0);
    }
    let mut room =
        columns.saturating_sub(elided(segments, 0, segments.len(), glyphs).chars().count());
    let (mut head, mut tail) = (0, 0);
    let mut front = segments.iter();
    loop {
        let from_front = head <= tail;
        let next = if from_front { front.next() } else { front.next_back() };
        let Some(rest) = next.and_then(|segment| room.checked_sub(segment.min_width())) else {
            return (head, tail);
        };
        room = rest;
        if from_front {
            head += 1;
        } else {
            tail += 1;
        }
    }
}

/// Distributes columns in proportion to bytes. Segments that would be narrower than their minimum
/// width are fixed at it, and the others share the rest, until nothing changes.
fn spread(shown: Vec<Shown>, columns: usize) -> Layout {
    let sizes: Vec<(usize, f64)> = shown
        .iter()
        .map(|shown| match shown {
            Shown::Segment(segment) => (segment.min_width(), segment.len() as f64),
            Shown::Elided(label) => (label.chars().count(), 0.0),
        })
        .collect();
    let mut fixed: Vec<bool> = vec![false; sizes.len()];
    let mut scale = 0.0;
    for _ in 0..=sizes.len() {
        let pairs = || sizes.iter().zip(&fixed);
        let taken: usize =
            pairs().filter(|(_, fixed)| **fixed).map(|((min_width, _), _)| *min_width).sum();
        let bytes: f64 = pairs().filter(|(_, fixed)| !**fixed).map(|((_, len), _)| *len).sum();
        scale = columns.saturating_sub(taken) as f64 / bytes.max(1.0);
        let mut changed = false;
        for ((min_width, len), fixed) in sizes.iter().zip(&mut fixed) {
            if !*fixed && len * scale < *min_width as f64 {
                *fixed = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let widths = sizes.iter().zip(&fixed).map(|((min_width, len), fixed)| {
        if *fixed { *min_width } else { (len * scale).floor() as usize }
    });
    let elisions = shown.iter().filter(|shown| matches!(shown, Shown::Elided(_))).count();
    Layout {
        bytes_per_column: if scale > 0.0 { (1.0 / scale) as u64 } else { 0 },
        widened: fixed.iter().filter(|fixed| **fixed).count().saturating_sub(elisions),
        columns: shown.into_iter().zip(widths).collect(),
    }
}

/// Draws source or destination as three lines of boxes.
pub fn draw(layout: &Layout, glyphs: &Glyphs, destination: bool) -> Vec<String> {
    let mut lines = vec![String::new(); 3];
    for (shown, width) in &layout.columns {
        let (cells, colour) = match shown {
            Shown::Elided(label) => (blank(label, *width), None),
            Shown::Segment(segment) => {
                (cells(segment, *width, glyphs, destination), colour(segment, destination))
            }
        };
        for (line, cell) in lines.iter_mut().zip(cells) {
            match colour.filter(|_| glyphs.coloured) {
                Some(colour) => line.extend(["\x1b[", &colour.to_string(), "m", &cell, "\x1b[0m"]),
                None => line.push_str(&cell),
            }
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Moved parts are green, failed ones red, mappings that stay yellow.
fn colour(segment: &Segment, destination: bool) -> Option<u8> {
    match segment {
        Segment::Part { failed: true, .. } => Some(31),
        Segment::Part { .. } => Some(32),
        Segment::Gap { under: Under::Mapped, .. } if destination => Some(33),
        _ => None,
    }
}

fn cells(segment: &Segment, width: usize, glyphs: &Glyphs, destination: bool) -> [String; 3] {
    match segment {
        Segment::Part { name, failed, .. } => match (destination, failed) {
            (true, true) => blank("", width),
            (true, false) => boxed(&format!("{name}'"), width, glyphs),
            (false, true) => boxed(&format!("{name}!"), width, glyphs),
            (false, false) => boxed(name, width, glyphs),
        },
        Segment::Gap { under: Under::Mapped, .. } if destination => {
            filled("kept", glyphs.kept, width)
        }
        Segment::Gap { under: Under::Unknown, .. } if destination => blank("?", width),
        Segment::Gap { .. } => blank("", width),
        Segment::Unseen { .. } => {
            let [_, middle, _] = filled("", glyphs.unseen, width);
            [" ".repeat(width), middle, " ".repeat(width)]
        }
    }
}

fn boxed(label: &str, width: usize, glyphs: &Glyphs) -> [String; 3] {
    let inner = width.saturating_sub(2);
    let bar = glyphs.horizontal.to_string().repeat(inner);
    let [top_left, top_right, bottom_left, bottom_right] = glyphs.corners;
    [
        format!("{top_left}{bar}{top_right}"),
        format!("{0}{label:^inner$}{0}", glyphs.vertical),
        format!("{bottom_left}{bar}{bottom_right}"),
    ]
}

fn blank(label: &str, width: usize) -> [String; 3] {
    [" ".repeat(width), format!("{label:^width$}"), " ".repeat(width)]
}

/// A shaded box, with its label in the middle if there is room.
fn filled(label: &str, shade: char, width: usize) -> [String; 3] {
    let field = shade.to_string().repeat(width);
    let words = format!(" {label} ");
    let middle = match width.checked_sub(words.len()) {
        Some(spare) if spare >= 2 && !label.is_empty() => {
            let side = |columns: usize| shade.to_string().repeat(columns);
            format!("{}{words}{}", side(spare / 2), side(spare - spare / 2))
        }
        _ => field.clone(),
    };
    [field.clone(), middle, field]
}

/// Start addresses of the parts, in at most two lines below the boxes. The legend has those that do
/// not fit.
pub fn addresses(layout: &Layout, shift: u64) -> Vec<String> {
    let total: usize = layout.columns.iter().map(|(_, width)| width).sum();
    let mut lines = vec![String::new(); 2];
    let mut column = 0;
    for (shown, width) in &layout.columns {
        if let Shown::Segment(part @ Segment::Part { .. }) = shown {
            let label = format!("{:#x}", part.start().wrapping_add(shift));
            let at = column.min(total.saturating_sub(label.len()));
            let free = |line: &&mut String| line.is_empty() || line.len() < at;
            if let Some(line) = lines.iter_mut().find(free) {
                *line = format!("{line:<at$}{label}");
            }
        }
        column += width;
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use mremap_trace::Under;

    use super::{Glyphs, Segment, draw, lay_out};

    fn parts(lens: &[u64]) -> Vec<Segment> {
        let mut start = 0;
        let mut next = |len: &u64| {
            let part =
                Segment::Part { name: "A".to_owned(), start, end: start + len, failed: false };
            start += len;
            part
        };
        lens.iter().map(&mut next).collect()
    }

    #[test]
    fn draws_boxes_to_scale_within_the_columns() {
        let glyphs = Glyphs::new(true, false);
        let layout = lay_out(&parts(&[4096, 3 * 4096]), 40, &glyphs);
        let widths: Vec<usize> = layout.columns.iter().map(|(_, width)| *width).collect();
        assert_eq!(widths, [10, 30]);
        let crowded = lay_out(&parts(&[1 << 40, 4096, 4096]), 40, &glyphs);
        let widths: Vec<usize> = crowded.columns.iter().map(|(_, width)| *width).collect();
        assert_eq!(widths, [32, 4, 4]);
        assert_eq!(crowded.widened, 2);
    }

    #[test]
    fn leaves_out_the_middle_of_many_parts_and_counts_it() {
        let glyphs = Glyphs::new(true, false);
        let parts = parts(&[4096; 1000]);
        let layout = lay_out(&parts, 76, &glyphs);
        let lines = draw(&layout, &glyphs, false);
        assert_eq!(lines[1].len(), 76, "adjacent parts are one box: {lines:?}");
        let apart: Vec<Segment> = parts
            .chunks(2)
            .flat_map(|pair| {
                let (start, end) = (pair[1].start(), pair[1].end());
                let under = Under::Empty;
                [pair[0].clone(), Segment::Gap { start, end, under }]
            })
            .collect();
        let lines = draw(&lay_out(&apart, 76, &glyphs), &glyphs, false);
        assert!(lines.iter().all(|line| line.len() <= 76), "{lines:?}");
        assert!(lines[1].contains(" more parts, ") && lines[1].contains(" gaps ..."), "{lines:?}");
    }
}
