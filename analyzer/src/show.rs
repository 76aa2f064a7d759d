//! One move as a picture, to scale: the source with its parts and gaps, the destination with what lay under
//! the gaps.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Result, bail};
use mremap_trace::Under;

use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, flag_names, outcome_name};

/// Narrowest box that still shows a letter.
const NARROWEST: usize = 4;

/// Characters of a picture.
struct Pen {
    corners: [char; 4],
    horizontal: char,
    vertical: char,
    kept: char,
}

const UNICODE: Pen = Pen {
    corners: ['┌', '┐', '└', '┘'],
    horizontal: '─',
    vertical: '│',
    kept: '░',
};
const ASCII: Pen = Pen {
    corners: ['+', '+', '+', '+'],
    horizontal: '-',
    vertical: '|',
    kept: '#',
};

/// A stretch of the range, in address order.
#[derive(Clone)]
enum Stretch {
    Part { name: String, len: u64, failed: bool },
    Gap { len: u64, under: Under },
    Elided { parts: usize },
}

/// Draws event `number`.
///
/// # Errors
/// There is no such event, or its parts were not recorded.
pub fn write(loaded: &Loaded, number: usize, width: usize, ascii: bool, out: &mut dyn Write) -> Result<()> {
    let Some((process, event)) = loaded
        .processes
        .iter()
        .find_map(|process| Some((process, process.events.get(number.checked_sub(1)?)?)))
    else {
        let count = loaded.processes.first().map_or(0, |process| process.events.len());
        bail!("no event {number}: this trace has {count}; `mremap-analyzer events` lists them");
    };
    write_title(process, event, out)?;
    if event.parts.is_empty() && event.gaps.is_empty() {
        bail!(
            "event {number} has no parts on record; only emulated moves have them, unless the program ran with \
             MREMAP_SHIM_TRACE_DETAIL=vmas"
        );
    }
    let pen = if ascii || !locale_is_utf8() {
        &ASCII
    } else {
        &UNICODE
    };
    let stretches = elide(stretches(event), width.saturating_sub(2) / (NARROWEST + 1));
    let widths = widths(&stretches, width.saturating_sub(4).max(20));
    writeln!(
        out,
        "\nsource      {:#x} .. {:#x}",
        event.call.old,
        end_of(event.call.old, event)
    )?;
    draw(&stretches, &widths, pen, false, out)?;
    writeln!(
        out,
        "\ndestination {:#x} .. {:#x}",
        event.call.new,
        end_of(event.call.new, event)
    )?;
    draw(&stretches, &widths, pen, true, out)?;
    write_legend(process, event, pen, out)
}

fn locale_is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

fn end_of(start: u64, event: &Event) -> u64 {
    let ends = event
        .parts
        .iter()
        .map(|part| part.end)
        .chain(event.gaps.iter().map(|gap| gap.end));
    start.wrapping_add(ends.max().unwrap_or(event.call.old).wrapping_sub(event.call.old))
}

fn write_title(process: &Process, event: &Event, out: &mut dyn Write) -> Result<()> {
    let call = &event.call;
    let result = call
        .errno()
        .map_or_else(|| format!("{:#x}", call.result), errno_name);
    writeln!(
        out,
        "event {}: mremap({:#x}, {}, {}, {}, {:#x}) = {result}",
        event.number,
        call.old,
        call.old_len,
        call.new_len,
        flag_names(call.flags),
        call.new
    )?;
    writeln!(
        out,
        "{}, {} parts, {} gaps, {} us, called from {}",
        outcome_name(call.outcome),
        event.parts.len(),
        event.gaps.len(),
        process.nanoseconds(call.duration) / 1000,
        process.site(call.caller)
    )?;
    Ok(())
}

/// `A` to `Z`, then `A1` and so on.
fn name_of(index: usize) -> String {
    let letter = char::from(b'A' + (index % 26) as u8);
    if index < 26 {
        letter.to_string()
    } else {
        format!("{letter}{}", index / 26)
    }
}

fn stretches(event: &Event) -> Vec<Stretch> {
    let mut placed: Vec<(u64, Stretch)> = Vec::new();
    for (index, part) in event.parts.iter().enumerate() {
        let len = part.end.saturating_sub(part.start);
        placed.push((
            part.start,
            Stretch::Part {
                name: name_of(index),
                len,
                failed: part.errno != 0,
            },
        ));
    }
    for gap in &event.gaps {
        placed.push((
            gap.start,
            Stretch::Gap {
                len: gap.end.saturating_sub(gap.start),
                under: gap.under,
            },
        ));
    }
    placed.sort_by_key(|(start, _)| *start);
    placed.into_iter().map(|(_, stretch)| stretch).collect()
}

/// Leaves the middle out when there are more stretches than fit.
fn elide(stretches: Vec<Stretch>, most: usize) -> Vec<Stretch> {
    let most = most.max(5);
    if stretches.len() <= most {
        return stretches;
    }
    let (head, tail) = (most / 2, most - most / 2 - 2);
    let middle = &stretches[head..stretches.len() - tail];
    let parts = middle
        .iter()
        .filter(|stretch| matches!(stretch, Stretch::Part { .. }))
        .count();
    let mut kept = stretches[..head].to_vec();
    kept.push(Stretch::Elided { parts });
    kept.extend_from_slice(&stretches[stretches.len() - tail..]);
    kept
}

/// Columns of each stretch: in proportion to its bytes, but wide enough to be seen.
fn widths(stretches: &[Stretch], columns: usize) -> Vec<usize> {
    let least = |stretch: &Stretch| match stretch {
        Stretch::Elided { parts } => format!(" ..{parts} more.. ").len(),
        Stretch::Part { name, .. } => NARROWEST.max(name.len() + 3),
        Stretch::Gap { .. } => NARROWEST,
    };
    let bytes = |stretch: &Stretch| match stretch {
        Stretch::Part { len, .. } | Stretch::Gap { len, .. } => *len as f64,
        Stretch::Elided { .. } => 0.0,
    };
    let total: f64 = stretches.iter().map(bytes).sum::<f64>().max(1.0);
    let needed: usize = stretches.iter().map(least).sum();
    let spare = columns.saturating_sub(needed) as f64;
    stretches
        .iter()
        .map(|stretch| least(stretch) + (spare * bytes(stretch) / total) as usize)
        .collect()
}

fn draw(
    stretches: &[Stretch],
    widths: &[usize],
    pen: &Pen,
    destination: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut lines = [String::from("  "), String::from("  "), String::from("  ")];
    for (stretch, &width) in stretches.iter().zip(widths) {
        let inner = width - 2;
        match stretch {
            Stretch::Part { name, failed, .. } if !(destination && *failed) => {
                let label = if destination {
                    format!("{name}'")
                } else {
                    name.clone()
                };
                let bar = pen.horizontal.to_string().repeat(inner);
                let [top, middle, bottom] = &mut lines;
                write!(top, "{}{bar}{}", pen.corners[0], pen.corners[1])?;
                write!(middle, "{}{label:^inner$}{}", pen.vertical, pen.vertical)?;
                write!(bottom, "{}{bar}{}", pen.corners[2], pen.corners[3])?;
            }
            Stretch::Gap {
                under: Under::Mapped, ..
            } if destination => {
                for line in &mut lines {
                    line.extend(std::iter::repeat_n(pen.kept, width));
                }
            }
            Stretch::Elided { parts } => {
                lines[0] += &" ".repeat(width);
                let label = format!("..{parts} more..");
                write!(lines[1], "{label:^width$}")?;
                lines[2] += &" ".repeat(width);
            }
            _ => lines
                .iter_mut()
                .for_each(|line| line.extend(std::iter::repeat_n(' ', width))),
        }
    }
    for line in lines {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_legend(process: &Process, event: &Event, pen: &Pen, out: &mut dyn Write) -> Result<()> {
    const MOST_ROWS: usize = 30;
    let page = u64::from(process.header.page_size).max(1);
    writeln!(out)?;
    for (index, part) in event.parts.iter().take(MOST_ROWS).enumerate() {
        let cut = if (part.start, part.end) == (part.vma_start, part.vma_end) {
            ""
        } else {
            ", part of its VMA"
        };
        let failed = if part.errno == 0 {
            String::new()
        } else {
            format!(", FAILED: {}", errno_name(part.errno))
        };
        writeln!(
            out,
            "  {:<3} {:#x}  {} pages  {}{cut}{failed}",
            name_of(index),
            part.start,
            part.end.saturating_sub(part.start) / page,
            protection(part.protection)
        )?;
    }
    if event.parts.len() > MOST_ROWS {
        writeln!(out, "  ... and {} more parts", event.parts.len() - MOST_ROWS)?;
    }
    let kept = event.gaps.iter().filter(|gap| gap.under == Under::Mapped).count();
    if kept > 0 {
        writeln!(
            out,
            "  {} somebody else's mapping under a gap, left alone ({kept})",
            pen.kept
        )?;
    }
    Ok(())
}

fn protection(bits: u8) -> String {
    if bits & 1 << 7 == 0 {
        return "?".to_owned();
    }
    let letter = |bit: u8, letter: char| if bits & 1 << bit == 0 { '-' } else { letter };
    [
        letter(0, 'r'),
        letter(1, 'w'),
        letter(2, 'x'),
        if bits & 1 << 3 == 0 { 'p' } else { 's' },
    ]
    .iter()
    .collect()
}
