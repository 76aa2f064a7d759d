//! A range as boxes on a line, to scale. Knows columns and characters, and (`event`) what of a call is drawn; no files.

mod event;
pub mod svg;

use mremap_trace::Under;

use crate::model::units::counted;

pub use event::stretches;

/// Columns of the narrowest thing that is drawn.
const NARROWEST: usize = 3;

/// Characters of a picture.
pub struct Pen {
    corners: [char; 4],
    horizontal: char,
    vertical: char,
    /// What lies under a gap's target and stays.
    pub kept: char,
    unseen: char,
    /// What stands for something left out.
    pub dots: &'static str,
    coloured: bool,
}

impl Pen {
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

/// A box of so many columns with a word in its middle, in three lines.
pub fn single_box(pen: &Pen, columns: usize, word: &str) -> [String; 3] {
    let inner = columns.max(3) - 2;
    let [left, right, below_left, below_right] = pen.corners;
    let line = String::from(pen.horizontal).repeat(inner);
    let word = if word.len() <= inner { word } else { "" };
    [
        format!("{left}{line}{right}"),
        format!("{0}{word:^inner$}{0}", pen.vertical),
        format!("{below_left}{line}{below_right}"),
    ]
}

/// A stretch of the source range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// One VMA's share.
    Part {
        /// Its letter.
        name: String,
        /// First byte.
        start: u64,
        /// First byte behind it.
        end: u64,
        /// It could not be moved.
        failed: bool,
    },
    /// Nothing was mapped here.
    Gap {
        /// First byte.
        start: u64,
        /// First byte behind it.
        end: u64,
        /// What lay at its target.
        under: Under,
    },
    /// The move never came so far.
    Unseen {
        /// First byte.
        start: u64,
        /// First byte behind it.
        end: u64,
    },
}

impl Stretch {
    /// First byte.
    pub fn start(&self) -> u64 {
        match self {
            Self::Part { start, .. } | Self::Gap { start, .. } | Self::Unseen { start, .. } => {
                *start
            }
        }
    }

    /// First byte behind it.
    pub fn end(&self) -> u64 {
        match self {
            Self::Part { end, .. } | Self::Gap { end, .. } | Self::Unseen { end, .. } => *end,
        }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.end().saturating_sub(self.start())
    }

    /// Whether the trace tells what was here.
    pub fn is_seen(&self) -> bool {
        !matches!(self, Self::Unseen { .. })
    }

    fn least(&self) -> usize {
        match self {
            Self::Part { name, .. } => name.len() + 3,
            Self::Gap { .. } | Self::Unseen { .. } => NARROWEST,
        }
    }
}

/// What one column run shows.
enum Shown {
    Stretch(Stretch),
    /// So many parts left out.
    Elided(String),
}

/// Stretches with their columns.
pub struct Layout {
    columns: Vec<(Shown, usize)>,
    /// The scale.
    pub bytes_per_column: u64,
    /// How many are drawn wider than the scale asks.
    pub widened: usize,
}

/// Gives every stretch its columns; leaves the middle out when not all fit.
pub fn lay_out(stretches: &[Stretch], columns: usize, pen: &Pen) -> Layout {
    let needed = |stretches: &[Stretch]| stretches.iter().map(Stretch::least).sum::<usize>();
    if needed(stretches) > columns {
        let bundled = bundle(stretches);
        if needed(&bundled) <= columns {
            return spread(bundled.into_iter().map(Shown::Stretch).collect(), columns);
        }
    }
    let (head, tail) = ends_that_fit(stretches, columns, pen);
    let left_out = stretches.len().saturating_sub(head + tail);
    let mut shown: Vec<Shown> = stretches.iter().take(head).cloned().map(Shown::Stretch).collect();
    if left_out > 0 {
        shown.push(Shown::Elided(elided(stretches, head, left_out, pen)));
    }
    shown.extend(stretches.iter().skip(head + left_out).cloned().map(Shown::Stretch));
    spread(shown, columns)
}

/// Neighbouring parts as one box each, where there are too many to be drawn one by one.
fn bundle(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut bundled: Vec<(Stretch, String)> = Vec::new();
    for stretch in stretches {
        let name_of_it = match stretch {
            Stretch::Part { name, .. } => name.clone(),
            _ => String::new(),
        };
        match (bundled.last_mut(), stretch) {
            (
                Some((Stretch::Part { name, end: reached, failed: false, .. }, first)),
                Stretch::Part { end, failed: false, .. },
            ) => {
                *name = format!("{first}..{name_of_it}");
                *reached = *end;
            }
            _ => bundled.push((stretch.clone(), name_of_it)),
        }
    }
    bundled.into_iter().map(|(stretch, _)| stretch).collect()
}

/// What stands for the middle that is left out.
pub fn left_out<'a>(middle: impl Iterator<Item = &'a Stretch>, pen: &Pen) -> String {
    let (mut parts, mut gaps) = (0, 0);
    for stretch in middle {
        match stretch {
            Stretch::Part { .. } => parts += 1,
            Stretch::Gap { .. } => gaps += 1,
            Stretch::Unseen { .. } => {}
        }
    }
    let gaps = match gaps {
        0 => String::new(),
        gaps => format!(", {}", counted(gaps, "gap")),
    };
    format!("{0} {1}{gaps} {0}", pen.dots, counted(parts, "more part"))
}

fn elided(stretches: &[Stretch], head: usize, left_out: usize, pen: &Pen) -> String {
    let middle = stretches.iter().skip(head).take(left_out);
    format!(" {} ", self::left_out(middle, pen))
}

/// How many stretches from the front and from the back fit.
fn ends_that_fit(stretches: &[Stretch], columns: usize, pen: &Pen) -> (usize, usize) {
    let needed: usize = stretches.iter().map(Stretch::least).sum();
    if needed <= columns {
        return (stretches.len(), 0);
    }
    let mut room =
        columns.saturating_sub(elided(stretches, 0, stretches.len(), pen).chars().count());
    let (mut head, mut tail) = (0, 0);
    let mut front = stretches.iter();
    loop {
        let from_front = head <= tail;
        let next = if from_front { front.next() } else { front.next_back() };
        let Some(rest) = next.and_then(|stretch| room.checked_sub(stretch.least())) else {
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

/// Columns in proportion to bytes. What would get too few is fixed at its least, and the rest share what is
/// left, until nothing changes.
fn spread(shown: Vec<Shown>, columns: usize) -> Layout {
    let sizes: Vec<(usize, f64)> = shown
        .iter()
        .map(|shown| match shown {
            Shown::Stretch(stretch) => (stretch.least(), stretch.len() as f64),
            Shown::Elided(label) => (label.chars().count(), 0.0),
        })
        .collect();
    let mut fixed: Vec<bool> = vec![false; sizes.len()];
    let mut scale = 0.0;
    for _ in 0..=sizes.len() {
        let pairs = || sizes.iter().zip(&fixed);
        let taken: usize = pairs().filter(|(_, fixed)| **fixed).map(|((least, _), _)| *least).sum();
        let bytes: f64 = pairs().filter(|(_, fixed)| !**fixed).map(|((_, len), _)| *len).sum();
        scale = columns.saturating_sub(taken) as f64 / bytes.max(1.0);
        let mut changed = false;
        for ((least, len), fixed) in sizes.iter().zip(&mut fixed) {
            if !*fixed && len * scale < *least as f64 {
                *fixed = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let widths = sizes
        .iter()
        .zip(&fixed)
        .map(|((least, len), fixed)| if *fixed { *least } else { (len * scale).floor() as usize });
    let elisions = shown.iter().filter(|shown| matches!(shown, Shown::Elided(_))).count();
    Layout {
        bytes_per_column: if scale > 0.0 { (1.0 / scale) as u64 } else { 0 },
        widened: fixed.iter().filter(|fixed| **fixed).count().saturating_sub(elisions),
        columns: shown.into_iter().zip(widths).collect(),
    }
}

/// Three lines of boxes.
pub fn draw(layout: &Layout, pen: &Pen, destination: bool) -> Vec<String> {
    let mut lines = vec![String::new(); 3];
    for (shown, width) in &layout.columns {
        let (cells, colour) = match shown {
            Shown::Elided(label) => (blank(label, *width), None),
            Shown::Stretch(stretch) => {
                (cells(stretch, *width, pen, destination), colour(stretch, destination))
            }
        };
        for (line, cell) in lines.iter_mut().zip(cells) {
            match colour.filter(|_| pen.coloured) {
                Some(colour) => line.extend(["\x1b[", &colour.to_string(), "m", &cell, "\x1b[0m"]),
                None => line.push_str(&cell),
            }
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Moved parts in green, failed ones in red, what was kept in yellow.
fn colour(stretch: &Stretch, destination: bool) -> Option<u8> {
    match stretch {
        Stretch::Part { failed: true, .. } => Some(31),
        Stretch::Part { .. } => Some(32),
        Stretch::Gap { under: Under::Mapped, .. } if destination => Some(33),
        _ => None,
    }
}

fn cells(stretch: &Stretch, width: usize, pen: &Pen, destination: bool) -> [String; 3] {
    match stretch {
        Stretch::Part { name, failed, .. } => match (destination, failed) {
            (true, true) => blank("", width),
            (true, false) => boxed(&format!("{name}'"), width, pen),
            (false, true) => boxed(&format!("{name}!"), width, pen),
            (false, false) => boxed(name, width, pen),
        },
        Stretch::Gap { under: Under::Mapped, .. } if destination => filled("kept", pen.kept, width),
        Stretch::Gap { under: Under::Unknown, .. } if destination => blank("?", width),
        Stretch::Gap { .. } => blank("", width),
        Stretch::Unseen { .. } => {
            let [_, middle, _] = filled("", pen.unseen, width);
            [" ".repeat(width), middle, " ".repeat(width)]
        }
    }
}

fn boxed(label: &str, width: usize, pen: &Pen) -> [String; 3] {
    let inner = width.saturating_sub(2);
    let bar = pen.horizontal.to_string().repeat(inner);
    let [top_left, top_right, bottom_left, bottom_right] = pen.corners;
    [
        format!("{top_left}{bar}{top_right}"),
        format!("{0}{label:^inner$}{0}", pen.vertical),
        format!("{bottom_left}{bar}{bottom_right}"),
    ]
}

fn blank(label: &str, width: usize) -> [String; 3] {
    [" ".repeat(width), format!("{label:^width$}"), " ".repeat(width)]
}

/// A shaded field, its label in the middle where there is room for one.
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

/// Start addresses under their parts, in as many lines as it takes to keep them apart, two at most: what
/// finds no room is in the legend.
pub fn addresses(layout: &Layout, shift: u64) -> Vec<String> {
    let total: usize = layout.columns.iter().map(|(_, width)| width).sum();
    let mut lines = vec![String::new(); 2];
    let mut column = 0;
    for (shown, width) in &layout.columns {
        if let Shown::Stretch(part @ Stretch::Part { .. }) = shown {
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

    use super::{Pen, Stretch, draw, lay_out};

    fn parts(lens: &[u64]) -> Vec<Stretch> {
        let mut start = 0;
        let mut next = |len: &u64| {
            let part =
                Stretch::Part { name: "A".to_owned(), start, end: start + len, failed: false };
            start += len;
            part
        };
        lens.iter().map(&mut next).collect()
    }

    #[test]
    fn boxes_are_to_scale_and_fit_the_columns() {
        let pen = Pen::new(true, false);
        let layout = lay_out(&parts(&[4096, 3 * 4096]), 40, &pen);
        let widths: Vec<usize> = layout.columns.iter().map(|(_, width)| *width).collect();
        assert_eq!(widths, [10, 30]);
        let crowded = lay_out(&parts(&[1 << 40, 4096, 4096]), 40, &pen);
        let widths: Vec<usize> = crowded.columns.iter().map(|(_, width)| *width).collect();
        assert_eq!(widths, [32, 4, 4]);
        assert_eq!(crowded.widened, 2);
    }

    #[test]
    fn the_middle_of_many_parts_is_left_out_and_counted() {
        let pen = Pen::new(true, false);
        let parts = parts(&[4096; 1000]);
        let layout = lay_out(&parts, 76, &pen);
        let lines = draw(&layout, &pen, false);
        assert_eq!(lines[1].len(), 76, "neighbours are one box: {lines:?}");
        let apart: Vec<Stretch> = parts
            .chunks(2)
            .flat_map(|pair| {
                let (start, end) = (pair[1].start(), pair[1].end());
                let under = Under::Empty;
                [pair[0].clone(), Stretch::Gap { start, end, under }]
            })
            .collect();
        let lines = draw(&lay_out(&apart, 76, &pen), &pen, false);
        assert!(lines.iter().all(|line| line.len() <= 76), "{lines:?}");
        assert!(lines[1].contains(" more parts, ") && lines[1].contains(" gaps ..."), "{lines:?}");
    }
}
