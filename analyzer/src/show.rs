//! One move before people: title, picture, legend. How it is laid out and drawn is [`picture`]'s business.

use std::cmp::Ordering;
use std::io::Write;
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use mremap_trace::{Outcome, Part, Under};

use crate::load::{Index, Traces, in_order};
use crate::model::Event;
use crate::model::names::{self, DONTUNMAP, FIXED};
use crate::model::units::{duration, size};
use crate::named::{Named, Namer};
use crate::picture::{self, Pen, Stretch, stretches};
use crate::report::table::TextStyle;
use crate::symbols::Symbols;
use crate::terminal;

/// Rows of the legend.
const MOST_ROWS: usize = 30;

/// How to draw.
pub struct Options {
    /// Columns; else the terminal's.
    pub width: Option<u16>,
    /// No characters beyond ASCII.
    pub ascii: bool,
    /// A drawing in SVG instead of text.
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
        |met| met.number == number,
        |process, event| {
            found = Some(namer.name(process, event));
            Ok(ControlFlow::Break(()))
        },
    )?;
    let Some(named) = found else {
        bail!(
            "no event {number}: this trace has {}; `mremap-analyzer events` lists them",
            index.calls
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
    let stretches = stretches(event);
    let pen = Pen::new(options.ascii || !terminal::is_utf8(), terminal::is_coloured());
    let width = options.width.map(usize::from).or_else(terminal::width);
    let columns = width.unwrap_or(terminal::DEFAULT_WIDTH);
    if !stretches.iter().any(Stretch::is_seen) {
        return draw_lengths(event, columns.saturating_sub(4), &pen, out);
    }
    let layout = picture::lay_out(&stretches, columns.saturating_sub(4), &pen);
    let call = &event.call;
    for (title, start, destination) in
        [("source", call.old, false), ("destination", call.new, true)]
    {
        writeln!(out, "\n{title:<11} {start:#x} .. {:#x}", start.wrapping_add(call.old_len))?;
        for line in picture::draw(&layout, &pen, destination) {
            writeln!(out, "  {line}")?;
        }
        for line in picture::addresses(&layout, start.wrapping_sub(call.old)) {
            writeln!(out, "  {line}")?;
        }
    }
    write_scale(&layout, out)?;
    write_legend(event, &stretches, &pen, out)
}

/// Of a call whose VMAs are not on record: what it was given, and what it gave back, to one scale.
fn draw_lengths(event: &Event, columns: usize, pen: &Pen, out: &mut dyn Write) -> Result<()> {
    let call = &event.call;
    let longest = u128::from(call.old_len.max(call.new_len).max(1));
    let lands = call.errno().is_none().then_some(call.result as u64);
    let result = lands.map(|start| ("result", start, call.new_len, fate(event)));
    for (title, start, len, fate) in
        [Some(("source", call.old, call.old_len, "")), result].into_iter().flatten()
    {
        let end = start.wrapping_add(len);
        writeln!(out, "\n{title:<11} {start:#x} .. {end:#x} {:>10}{fate}", size(len))?;
        let wide = (u128::from(len) * columns as u128).div_ceil(longest) as usize;
        for line in picture::single_box(pen, wide, "") {
            writeln!(out, "  {line}")?;
        }
    }
    let moves = call.flags & (FIXED | DONTUNMAP) != 0 && call.outcome != Outcome::Refused;
    if moves {
        writeln!(
            out,
            "\n  its VMAs are not on record: record with `run --detail vmas`, or with `run --mode emulate`"
        )?;
    }
    Ok(())
}

/// What became of a mapping that was not taken apart.
fn fate(event: &Event) -> &'static str {
    let call = &event.call;
    let moved = call.result as u64 != call.old;
    match call.new_len.cmp(&call.old_len) {
        Ordering::Greater if moved => ", grown and moved",
        Ordering::Greater => ", grown in place",
        Ordering::Less => ", shrunk",
        Ordering::Equal if moved => ", moved",
        Ordering::Equal => ", as it was",
    }
}

/// The call and what it came to, in two lines.
pub fn title_of(named: &Named) -> String {
    let event = &named.event;
    let call = &event.call;
    let result = call.errno().map_or_else(|| format!("{:#x}", call.result), names::errno);
    let moved =
        event.bytes_moved().map_or_else(String::new, |bytes| format!(", {} moved", size(bytes)));
    let pieces = event.pieces().map_or_else(String::new, |it| format!(", {it}"));
    format!(
        "event {}: {} = {result}\n{}{pieces}{moved}, {}, called from {}",
        event.number,
        names::call(call),
        names::outcome(call.outcome),
        duration(named.duration),
        named.site.name
    )
}

fn write_scale(layout: &picture::Layout, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\n  one column is {}", size(layout.bytes_per_column))?;
    if layout.widened > 0 {
        writeln!(
            out,
            "  {} of what is drawn would be too narrow to see and is drawn wider",
            layout.widened
        )?;
    }
    Ok(())
}

fn write_legend(
    event: &Event,
    stretches: &[Stretch],
    pen: &Pen,
    out: &mut dyn Write,
) -> Result<()> {
    writeln!(out)?;
    let (head, tail) = (MOST_ROWS * 2 / 3, MOST_ROWS / 3);
    let left_out = stretches.len().saturating_sub(head + tail);
    let mut parts = event.parts.iter();
    for (index, stretch) in stretches.iter().enumerate() {
        let part = match stretch {
            Stretch::Part { .. } => parts.next(),
            _ => None,
        };
        if left_out == 0 || index < head || index >= head + left_out {
            writeln!(out, "  {}", legend_row(event, stretch, part))?;
        } else if index == head {
            let middle = stretches.iter().skip(head).take(left_out);
            writeln!(out, "  {}", picture::left_out(middle, pen))?;
        }
    }
    if event.parts.iter().any(|part| names::protection(part.protection) == "?") {
        writeln!(out, "\n  ? rights are not on record; `run --detail vmas` records them")?;
    }
    let kept = event.gaps.iter().filter(|gap| gap.under == Under::Mapped).count();
    if kept > 0 {
        let [a, b, c] = [pen.kept; 3];
        writeln!(
            out,
            "\n  {a}{b}{c} somebody else's mapping under the target of a gap, left alone ({kept})"
        )?;
    }
    Ok(())
}

/// What the kernel had to split off: the ends of the VMA that stay behind.
fn split(part: &Part) -> Option<String> {
    let before = part.start.saturating_sub(part.vma_start);
    let behind = part.vma_end.saturating_sub(part.end);
    let sides: Vec<String> = [(before, "before"), (behind, "behind")]
        .iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, side)| format!("{} {side} it", size(*bytes)))
        .collect();
    (!sides.is_empty()).then(|| {
        format!(
            ", split from the VMA {:#x}..{:#x}: {} stays",
            part.vma_start,
            part.vma_end,
            sides.join(" and ")
        )
    })
}

fn legend_row(event: &Event, stretch: &Stretch, part: Option<&Part>) -> String {
    let len = size(stretch.len());
    let (start, target) = (stretch.start(), event.target(stretch.start()));
    match stretch {
        Stretch::Part { name, failed, .. } => {
            let seen =
                part.map_or_else(|| "?".to_owned(), |part| names::protection(part.protection));
            let cut = part.and_then(split).unwrap_or_default();
            let failure = match part.map(|part| part.errno).filter(|_| *failed) {
                Some(errno) => format!(", NOT MOVED: {}", names::errno(errno)),
                None => String::new(),
            };
            format!("{name:<4} {start:#x} -> {target:#x} {len:>10}  {seen}{cut}{failure}")
        }
        Stretch::Gap { under, .. } => {
            let under = match under {
                Under::Unknown => "not looked at what lies there",
                Under::Empty => "nothing mapped there",
                Under::Mapped => "mapped there, and kept",
            };
            format!("gap  {start:#x} -> {target:#x} {len:>10}  {under}")
        }
        Stretch::Unseen { .. } => {
            format!("?    {start:#x} -> {target:#x} {len:>10}  never reached")
        }
    }
}
