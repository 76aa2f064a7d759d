//! `show`: one call as a picture with a title and a legend. [`picture`] lays it out and draws it.

use std::cmp::Ordering;
use std::io::Write;
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use mremap_trace::{Outcome, Part, Under};

use crate::load::{Index, Traces, in_order};
use crate::model::Event;
use crate::model::names::{self, DONTUNMAP, FIXED};
use crate::model::units::{counted, duration, size};
use crate::named::{Named, Namer};
use crate::picture::{self, Glyphs, Segment, segments};
use crate::report::table::TextStyle;
use crate::symbols::Symbols;
use crate::terminal;

/// Rows of the legend; of more, the middle is left out.
const MAX_ROWS: usize = 30;

/// Options of `show`.
pub struct Options {
    /// Columns of the picture; by default the terminal's.
    pub width: Option<u16>,
    /// Draws with ASCII only.
    pub ascii: bool,
    /// Draws SVG instead of text.
    pub svg: bool,
}

/// Draws event `number`.
///
/// # Errors
/// There is no such event, or standard output cannot be written.
pub fn write(
    traces: &Traces,
    index: &Index,
    number: u64,
    symbols: &Symbols,
    options: &Options,
    out: &mut dyn Write,
) -> Result<()> {
    let mut found = None;
    let mut namer = Namer::new(symbols);
    in_order(
        traces,
        index,
        |candidate| candidate.number == number,
        |process, event| {
            found = Some(namer.name(process, event));
            Ok(ControlFlow::Break(()))
        },
    )?;
    let Some(named) = found else {
        bail!(
            "no event {number}: the traces have {}; `mremap-analyzer events` lists them",
            counted(index.calls, "call")
        );
    };
    let title = title_of(&named);
    if options.svg {
        out.write_all(picture::svg::document(&named.event, &title).as_bytes())?;
        return Ok(());
    }
    writeln!(out, "{title}")?;
    if let Some(why) = named.why {
        let text = format!("{}; {}.", why.reason.cause(), why.reason.remedy());
        writeln!(out, "{}", TextStyle::of_stdout().wrap(&text, 0))?;
    }
    draw(&named.event, options, out)
}

fn draw(event: &Event, options: &Options, out: &mut dyn Write) -> Result<()> {
    let segments = segments(event);
    let glyphs = Glyphs::new(options.ascii || !terminal::is_utf8(), terminal::is_coloured());
    let width = options.width.map(usize::from).or_else(terminal::width);
    let columns = width.unwrap_or(terminal::DEFAULT_WIDTH);
    if !segments.iter().any(Segment::is_seen) {
        return draw_lengths(event, columns.saturating_sub(4), &glyphs, out);
    }
    let layout = picture::lay_out(&segments, columns.saturating_sub(4), &glyphs);
    let call = &event.call;
    for (title, start, destination) in
        [("source", call.old, false), ("destination", call.new, true)]
    {
        writeln!(out, "\n{title:<11} {start:#x} .. {:#x}", start.wrapping_add(call.old_len))?;
        for line in picture::draw(&layout, &glyphs, destination) {
            writeln!(out, "  {line}")?;
        }
        for line in picture::addresses(&layout, start.wrapping_sub(call.old)) {
            writeln!(out, "  {line}")?;
        }
    }
    write_scale(&layout, out)?;
    write_legend(event, &segments, &glyphs, out)
}

/// Draws a call whose VMAs were not recorded: source and result, to the same scale.
fn draw_lengths(event: &Event, columns: usize, glyphs: &Glyphs, out: &mut dyn Write) -> Result<()> {
    let call = &event.call;
    let longest = u128::from(call.old_len.max(call.new_len).max(1));
    let lands = call.errno().is_none().then_some(call.result as u64);
    let result = lands.map(|start| ("result", start, call.new_len, placement(event)));
    for (title, start, len, placement) in
        [Some(("source", call.old, call.old_len, "")), result].into_iter().flatten()
    {
        let end = start.wrapping_add(len);
        writeln!(out, "\n{title:<11} {start:#x} .. {end:#x} {:>10}{placement}", size(len))?;
        let wide = (u128::from(len) * columns as u128).div_ceil(longest) as usize;
        for line in picture::single_box(glyphs, wide, "") {
            writeln!(out, "  {line}")?;
        }
    }
    let moves = call.flags & (FIXED | DONTUNMAP) != 0 && call.outcome != Outcome::Refused;
    if moves {
        writeln!(
            out,
            "\n  VMAs not recorded; `run --detail vmas` and `run --mode emulate` record them"
        )?;
    }
    Ok(())
}

/// Whether the mapping grew, shrank or moved.
fn placement(event: &Event) -> &'static str {
    let call = &event.call;
    let moved = call.result as u64 != call.old;
    match call.new_len.cmp(&call.old_len) {
        Ordering::Greater if moved => ", grown and moved",
        Ordering::Greater => ", grown in place",
        Ordering::Less => ", shrunk",
        Ordering::Equal if moved => ", moved",
        Ordering::Equal => ", unchanged",
    }
}

/// The call and its result, in two lines.
pub fn title_of(named: &Named) -> String {
    let event = &named.event;
    let call = &event.call;
    let result = call.errno().map_or_else(|| format!("{:#x}", call.result), names::errno);
    let moved =
        event.bytes_moved().map_or_else(String::new, |bytes| format!(", {} moved", size(bytes)));
    let count_of_parts = event.count_of_parts().map_or_else(String::new, |it| format!(", {it}"));
    format!(
        "event {}: {} = {result}\n{}{count_of_parts}{moved}, {}, called from {}",
        event.number,
        names::call(call),
        call.outcome.name(),
        duration(named.duration),
        named.site.name
    )
}

fn write_scale(layout: &picture::Layout, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\n  one column is {}", size(layout.bytes_per_column))?;
    if layout.widened > 0 {
        writeln!(out, "  {} too small for this scale and drawn wider", boxes(layout.widened))?;
    }
    Ok(())
}

fn boxes(number: usize) -> String {
    if number == 1 { "1 box is".to_owned() } else { format!("{number} boxes are") }
}

fn write_legend(
    event: &Event,
    segments: &[Segment],
    glyphs: &Glyphs,
    out: &mut dyn Write,
) -> Result<()> {
    writeln!(out)?;
    let (head, tail) = (MAX_ROWS * 2 / 3, MAX_ROWS / 3);
    let left_out = segments.len().saturating_sub(head + tail);
    let mut parts = event.parts.iter();
    for (index, segment) in segments.iter().enumerate() {
        let part = match segment {
            Segment::Part { .. } => parts.next(),
            _ => None,
        };
        if left_out == 0 || index < head || index >= head + left_out {
            writeln!(out, "  {}", legend_row(event, segment, part))?;
        } else if index == head {
            let middle = segments.iter().skip(head).take(left_out);
            writeln!(out, "  {}", picture::left_out(middle, glyphs))?;
        }
    }
    if event.parts.iter().any(|part| names::protection(part.protection) == "?") {
        writeln!(out, "\n  ? permissions not recorded; `run --detail vmas` records them")?;
    }
    let kept = event.gaps.iter().filter(|gap| gap.under == Under::Mapped).count();
    if kept > 0 {
        let [a, b, c] = [glyphs.kept; 3];
        writeln!(out, "\n  {a}{b}{c} mapping at the target of a gap, left in place ({kept})")?;
    }
    Ok(())
}

/// The ends of the VMA that the range does not include: the kernel splits them off.
fn split(part: &Part) -> Option<String> {
    let before = part.start.saturating_sub(part.vma_start);
    let after = part.vma_end.saturating_sub(part.end);
    let sides: Vec<String> = [(before, "before"), (after, "after")]
        .iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, side)| format!("{} {side} it", size(*bytes)))
        .collect();
    (!sides.is_empty()).then(|| {
        format!(
            ", split from VMA {:#x}..{:#x}: {} not moved",
            part.vma_start,
            part.vma_end,
            sides.join(" and ")
        )
    })
}

fn legend_row(event: &Event, segment: &Segment, part: Option<&Part>) -> String {
    let len = size(segment.len());
    let (start, target) = (segment.start(), event.target(segment.start()));
    match segment {
        Segment::Part { name, failed, .. } => {
            let seen =
                part.map_or_else(|| "?".to_owned(), |part| names::protection(part.protection));
            let cut = part.and_then(split).unwrap_or_default();
            let failure = match part.map(|part| part.errno).filter(|_| *failed) {
                Some(errno) => format!(", NOT MOVED: {}", names::errno(errno)),
                None => String::new(),
            };
            format!("{name:<4} {start:#x} -> {target:#x} {len:>10}  {seen}{cut}{failure}")
        }
        Segment::Gap { under, .. } => {
            let under = match under {
                Under::Unknown => "target not checked",
                Under::Empty => "target not mapped",
                Under::Mapped => "target mapped, kept",
            };
            format!("gap  {start:#x} -> {target:#x} {len:>10}  {under}")
        }
        Segment::Unseen { .. } => {
            format!("?    {start:#x} -> {target:#x} {len:>10}  not reached")
        }
    }
}
