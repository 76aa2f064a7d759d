//! Draws the live view from the state alone.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::{bar, border};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::state::State;
use crate::model::units::{count, counted, duration};
use crate::named::Named;
use crate::picture::{self, Glyphs};
use crate::report::table::TextStyle;
use crate::terminal;

/// Lines of one move: a title, source and destination.
const PICTURE: u16 = 7;
/// Moves drawn at most.
const MOST_PICTURES: u16 = 4;
/// Least number of lines for call sites.
const LEAST_SITES: u16 = 14;
/// Below this width two columns of the table are left out.
const NARROW: u16 = 72;
const ASCII_BORDER: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
const ASCII_BARS: bar::Set<'_> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "#",
    five_eighths: "+",
    half: "+",
    three_eighths: "=",
    one_quarter: "-",
    one_eighth: ".",
    empty: " ",
};

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    // Pictures take their lines from the call sites, which keep at least LEAST_SITES.
    let pictures = (area.height.saturating_sub(8 + LEAST_SITES) / PICTURE).clamp(1, MOST_PICTURES);
    let rows = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Min(6),
        Constraint::Length(pictures * PICTURE + 2),
        Constraint::Length(1),
    ])
    .split(area);
    let [head, rates, sites, moves, keys] = rows[..] else {
        return;
    };
    frame.render_widget(Paragraph::new(summary(state)), head);
    draw_rates(frame, state, rates);
    draw_sites(frame, state, sites);
    draw_moves(frame, state, moves);
    frame.render_widget(Paragraph::new(help(state)).style(faint()), keys);
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn summary(state: &State) -> Text<'static> {
    let (all, alive) = state.processes;
    let calls: u64 = state.outcomes.iter().map(|(calls, _)| calls).sum();
    let outcomes: Vec<String> = state
        .named_outcomes()
        .into_iter()
        .map(|(name, calls, failed)| match failed {
            0 => format!("{name} {}", count(calls)),
            _ => format!("{name} {} ({} failed)", count(calls), count(failed)),
        })
        .collect();
    let paused = if state.paused { "   PAUSED" } else { "" };
    Text::from(vec![
        Line::from(format!(
            "mremap: {} calls, {alive} of {all} processes running{paused}",
            count(calls)
        ))
        .style(Style::new().add_modifier(Modifier::BOLD)),
        Line::from(outcomes.join("  ")),
    ])
}

fn draw_rates(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let last = state.rates.back().copied().unwrap_or(0);
    let width = usize::from(area.width.saturating_sub(2));
    let skipped = state.rates.len().saturating_sub(width);
    let data: Vec<u64> = state.rates.iter().skip(skipped).copied().collect();
    let title = format!(" {:.0} calls/s ", state.per_second(last));
    let chart = Sparkline::default()
        .data(data)
        .bar_set(if terminal::is_utf8() { bar::NINE_LEVELS } else { ASCII_BARS })
        .block(block(title));
    frame.render_widget(chart, area);
}

fn draw_sites(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let numbers = if area.width < NARROW { 9 + 8 + 2 } else { 9 + 8 + 10 + 12 + 4 };
    let names = usize::from(area.width.saturating_sub(2 + numbers)).max(20);
    let style = TextStyle::of_stdout();
    let rows = state.sites().into_iter().take(usize::from(area.height)).map(|row| {
        Row::new([
            style.fit(&row.name, names),
            format!("{:>9.0}", state.per_second(row.rate)),
            format!("{:>8}", count(row.failed)),
            format!("{:>10}", duration(row.time)),
            format!("{:>12}", count(row.calls)),
        ])
    });
    // A narrow terminal has no room for the last two columns.
    let widths = [
        Constraint::Min(20),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(if area.width < NARROW { 0 } else { 10 }),
        Constraint::Length(if area.width < NARROW { 0 } else { 12 }),
    ];
    let heads = ["call site", "  calls/s", "  failed", "      time", "       calls"];
    let shown =
        if state.filter.is_empty() { String::new() } else { format!(", only *{}*", state.filter) };
    let title = format!(" call sites by {}{shown} ", state.order.name());
    let table = Table::new(rows, widths).header(Row::new(heads).style(faint())).block(block(title));
    frame.render_widget(table, area);
}

/// The last moves with recorded VMAs, newest first, as many as fit.
fn draw_moves(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let block = block(" last moves ".to_owned());
    if state.moves.is_empty() {
        let nothing = Paragraph::new("no move with recorded VMAs yet").style(faint());
        return frame.render_widget(nothing.block(block), area);
    }
    let columns = usize::from(area.width.saturating_sub(4)).max(20);
    let room = usize::from(area.height.saturating_sub(2) / PICTURE).max(1);
    let pictures = state.moves.iter().take(room).flat_map(|named| picture_of(named, columns));
    let text = pictures.collect::<Vec<String>>().join("\n");
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn picture_of(named: &Named, columns: usize) -> Vec<String> {
    let glyphs = Glyphs::new(!terminal::is_utf8(), false);
    let layout = picture::lay_out(&picture::segments(&named.event), columns, &glyphs);
    let mut lines = vec![format!(
        "pid {}: {}, {}, {}, {}",
        named.origin.pid,
        counted(named.event.parts.len() as u64, "part"),
        counted(named.event.gaps.len() as u64, "gap"),
        duration(named.duration),
        named.site.name
    )];
    lines.extend(picture::draw(&layout, &glyphs, false));
    lines.extend(picture::draw(&layout, &glyphs, true));
    lines
}

/// A frame, of ASCII characters if the terminal has no others.
fn block(title: String) -> Block<'static> {
    let block = Block::bordered().title(title);
    if terminal::is_utf8() { block } else { block.border_set(ASCII_BORDER) }
}

fn help(state: &State) -> String {
    if state.typing {
        format!("filter: {}_   (Enter applies, Esc clears)", state.filter)
    } else {
        "q quit   p pause   s sort   / filter".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::draw;
    use crate::live::state::State;

    #[test]
    fn draws_an_empty_view_at_any_terminal_size() {
        for (width, height) in [(80, 24), (200, 50), (20, 8)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
            let mut state = State::new(Duration::from_secs(1));
            state.tick();
            state.paused = true;
            terminal.draw(|frame| draw(frame, &state)).expect("drawn");
            let text = format!("{:?}", terminal.backend().buffer());
            assert!(width < 40 || text.contains("PAUSED"), "{text}");
        }
    }
}
