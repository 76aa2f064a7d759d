//! One move before people: title, picture, legend. How it is laid out and drawn is [`picture`]'s business.

use std::io::{IsTerminal, Write};

use anyhow::{Result, bail};
use mremap_trace::{Outcome, Part, Under};

use crate::load::Loaded;
use crate::model::{Event, Process, errno_name, flag_names, in_order, outcome_name, protection};
use crate::picture::{self, Pen, Stretch};
use crate::report::size;

/// Columns when nobody says how wide the paper is.
const DEFAULT_WIDTH: u16 = 80;
/// Rows of the legend.
const MOST_ROWS: usize = 30;

/// Draws event `number`.
///
/// # Errors
/// There is no such event, its parts were not recorded, or standard output cannot be written.
pub fn write(
    loaded: &Loaded,
    number: usize,
    width: Option<u16>,
    ascii: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let events = in_order(&loaded.processes);
    let Some((process, event)) = number.checked_sub(1).and_then(|index| events.get(index)) else {
        bail!(
            "no event {number}: this trace has {}; `mremap-analyzer events` lists them",
            events.len()
        );
    };
    write_title(process, event, out)?;
    let stretches = stretches(event);
    if !stretches.iter().any(Stretch::is_seen) {
        bail!(
            "event {number} has no parts on record; only emulated moves have them, unless the program ran with \
             MREMAP_SHIM_TRACE_DETAIL=vmas (run --detail vmas)"
        );
    }
    let pen = Pen::new(ascii || !locale_is_utf8());
    let columns = usize::from(width.or_else(terminal_width).unwrap_or(DEFAULT_WIDTH));
    let layout = picture::lay_out(&stretches, columns.saturating_sub(4), &pen);
    let call = &event.call;
    for (title, start, destination) in [("source", call.old, false), ("destination", call.new, true)] {
        writeln!(
            out,
            "\n{title:<11} {start:#x} .. {:#x}",
            start.wrapping_add(call.old_len)
        )?;
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

fn locale_is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

fn terminal_width() -> Option<u16> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes a `winsize`, and `size` is one.
    let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0 && size.ws_col >= 40).then_some(size.ws_col)
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
    let moved = event
        .summary
        .map_or_else(String::new, |summary| format!(", {} moved", size(summary.bytes)));
    writeln!(
        out,
        "{}, {} parts, {} gaps{moved}, {:.1} us, called from {}",
        outcome_name(call.outcome),
        event.parts.len(),
        event.gaps.len(),
        process.nanoseconds(call.duration) as f64 / 1e3,
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

/// The range from end to end: parts, gaps, and what nobody looked at, in address order.
fn stretches(event: &Event) -> Vec<Stretch> {
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
            whole.push(Stretch::Unseen {
                start: reached,
                end: stretch.start(),
            });
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

fn write_legend(event: &Event, stretches: &[Stretch], pen: &Pen, out: &mut dyn Write) -> Result<()> {
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
            let count = middle.filter(|s| matches!(s, Stretch::Part { .. })).count();
            writeln!(out, "  {} {count} more parts {}", pen.dots, pen.dots)?;
        }
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

fn legend_row(event: &Event, stretch: &Stretch, part: Option<&Part>) -> String {
    let len = size(stretch.len());
    let (start, target) = (stretch.start(), event.target(stretch.start()));
    match stretch {
        Stretch::Part { name, failed, .. } => {
            let seen = part.map_or_else(|| "?".to_owned(), |part| protection(part.protection));
            let backing = match part.map(|part| part.protection) {
                Some(bits) if bits & 0x90 == 0x90 => " file",
                Some(bits) if bits & 0x80 != 0 => " anonymous",
                _ => "",
            };
            let cut = part.is_some_and(|p| (p.start, p.end) != (p.vma_start, p.vma_end));
            let cut = if cut { ", cut from a larger VMA" } else { "" };
            let failure = match part.map(|part| part.errno).filter(|_| *failed) {
                Some(errno) => format!(", NOT MOVED: {}", errno_name(errno)),
                None => String::new(),
            };
            format!("{name:<4} {start:#x} -> {target:#x} {len:>10}  {seen}{backing}{cut}{failure}")
        }
        Stretch::Gap { under, .. } => {
            let under = match under {
                Under::Unknown => "not looked at what lies there",
                Under::Empty => "nothing mapped there",
                Under::Mapped => "mapped there, and kept",
            };
            format!("gap  {start:#x} -> {target:#x} {len:>10}  {under}")
        }
        Stretch::Unseen { .. } => format!("?    {start:#x} -> {target:#x} {len:>10}  never reached"),
    }
}
