//! Draws the live view from the state alone.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::{bar, border};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table, TableState};

use super::state::State;
use crate::model::units::{count, counted, duration};
use crate::named::Named;
use crate::picture::{self, Glyphs};
use crate::report::table::TextStyle;
use crate::terminal;

/// The keys, for the help.
const KEYS: [(&str, &str); 9] = [
    ("up, down", "move the cursor (j, k; PgUp, PgDn; Home, End)"),
    ("Enter", "show rates and moves of this call site only"),
    ("Tab, Shift-Tab", "show the next or former process only"),
    ("s", "sort by rate, calls, time, failed"),
    ("/", "filter call sites by name"),
    ("p, space", "pause reading"),
    ("Esc", "back: help, call site, then quit"),
    ("?", "show or hide this help"),
    ("q", "quit"),
];
/// Lines of one move: a title, source and destination.
const PICTURE: u16 = 7;
/// Moves drawn at most.
const MAX_PICTURES: u16 = 4;
/// Least number of lines for call sites.
const MIN_SITES: u16 = 14;
/// Columns of the table after the name, with their width. A narrow terminal shows the first ones.
const COLUMNS: [(&str, u16); 6] =
    [("calls/s", 9), ("failed", 8), ("p50", 9), ("p99", 9), ("time", 10), ("calls", 12)];
/// Least width of the names.
const MIN_NAME: u16 = 24;
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
    // Pictures take their lines from the call sites, which keep at least MIN_SITES.
    let pictures = (area.height.saturating_sub(8 + MIN_SITES) / PICTURE).clamp(1, MAX_PICTURES);
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
    if state.help {
        draw_help(frame, area);
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines = KEYS.map(|(key, what)| format!(" {key:<16} {what}"));
    let width = area.width.min(68);
    let height = area.height.min(lines.len() as u16 + 2);
    let [left, top] = [(area.width - width) / 2, (area.height - height) / 2];
    let place = Rect::new(area.x + left, area.y + top, width, height);
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines.join("\n")).block(block(" keys ".to_owned())), place);
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn summary(state: &State) -> Text<'static> {
    let (all, alive) = state.processes;
    let totals = state.totals();
    let calls: u64 = totals.outcomes.iter().map(|(calls, _)| calls).sum();
    let outcomes: Vec<String> = totals
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
            "mremap: {} in {}, {alive} of {all} running{paused}",
            counted(calls, "call"),
            state.process_name().unwrap_or("all processes")
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
    let highest = data.iter().copied().max().unwrap_or(0);
    let span = state.interval.as_nanos() * data.len() as u128;
    let of = state.site.as_ref().map_or_else(String::new, |site| format!(" of {site}"));
    let title = format!(
        " {:.0} calls/s{of}, highest {:.0}, last {} ",
        state.per_second(last),
        state.per_second(highest),
        duration(u64::try_from(span).unwrap_or(u64::MAX))
    );
    let chart = Sparkline::default()
        .data(data)
        .bar_set(if terminal::is_utf8() { bar::NINE_LEVELS } else { ASCII_BARS })
        .block(block(title));
    frame.render_widget(chart, area);
}

fn draw_sites(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let mut room = area.width.saturating_sub(2 + MIN_NAME);
    let shown = COLUMNS.iter().take_while(|(_, width)| {
        let fits = *width < room;
        room = room.saturating_sub(width + 1);
        fits
    });
    let shown: Vec<(&str, u16)> = shown.copied().collect();
    let numbers: u16 = shown.iter().map(|(_, width)| width + 1).sum();
    let names = usize::from(area.width.saturating_sub(2 + numbers)).max(1);
    let style = TextStyle::of_stdout();
    let sites = state.sites();
    let rows = sites.iter().map(|row| {
        let cells = [
            format!("{:.0}", state.per_second(row.rate)),
            count(row.failed),
            duration(row.times.percentile(50.0)),
            duration(row.times.percentile(99.0)),
            duration(row.times.sum()),
            count(row.times.count()),
        ];
        let cells = cells.into_iter().zip(&shown);
        let name = std::iter::once(style.fit(&row.name, names));
        Row::new(name.chain(cells.map(|(cell, (_, width))| aligned(&cell, *width))))
    });
    let widths = std::iter::once(Constraint::Min(1))
        .chain(shown.iter().map(|(_, width)| Constraint::Length(*width)));
    let heads = std::iter::once("call site".to_owned())
        .chain(shown.iter().map(|(name, width)| aligned(name, *width)));
    let only =
        if state.filter.is_empty() { String::new() } else { format!(", only *{}*", state.filter) };
    let at = format!("{} of {}", (state.cursor + 1).min(sites.len()), sites.len());
    let title = format!(" call sites by {}{only}, {at} ", state.order.name());
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(faint()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(block(title));
    let mut place = TableState::new().with_selected(Some(state.cursor));
    frame.render_stateful_widget(table, area, &mut place);
}

fn aligned(text: &str, width: u16) -> String {
    format!("{text:>0$}", usize::from(width))
}

/// The last moves with recorded VMAs, newest first, as many as fit.
fn draw_moves(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let block = block(" last moves ".to_owned());
    if state.moves().next().is_none() {
        let nothing = Paragraph::new("no move with recorded VMAs yet").style(faint());
        return frame.render_widget(nothing.block(block), area);
    }
    let columns = usize::from(area.width.saturating_sub(4)).max(20);
    let room = usize::from(area.height.saturating_sub(2) / PICTURE).max(1);
    let pictures = state.moves().take(room).flat_map(|named| picture_of(named, columns));
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
        "q quit   p pause   s sort   / filter   Tab process   Enter call site   ? help".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::draw;
    use crate::live::state::State;
    use crate::load::{self, Index};
    use crate::named::Namer;
    use crate::symbols::Symbols;

    /// The text of the view at a size.
    fn drawn(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, state)).expect("drawn");
        let cells = terminal.backend().buffer().content().iter().map(ratatui::buffer::Cell::symbol);
        cells.collect()
    }

    /// The golden traces, as `top` finds them when it starts.
    fn golden() -> State {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
        let files = load::find(&[directory.into()]);
        let mut traces = load::open(&files);
        let index = Index::build(&mut traces);
        let symbols = Symbols::new(crate::symbols::SymbolOptions::default());
        let (mut namer, mut state) = (Namer::new(&symbols), State::new(Duration::from_secs(1)));
        load::in_order(
            &traces,
            &index,
            |_| true,
            |process, event| {
                state.take(namer.name(process, event));
                Ok(ControlFlow::Continue(()))
            },
        )
        .expect("they can be read");
        state
    }

    #[test]
    fn draws_an_empty_view_at_any_terminal_size() {
        for (width, height) in [(80, 24), (200, 50), (20, 8), (1, 1)] {
            let mut state = State::new(Duration::from_secs(1));
            state.tick();
            (state.paused, state.help) = (true, height == 50);
            let text = drawn(&state, width, height);
            assert!(width < 40 || text.contains("PAUSED"), "{text}");
            assert_eq!(height == 50, text.contains("Shift-Tab"), "{text}");
        }
    }

    #[test]
    fn the_backlog_is_in_the_totals_and_not_in_the_rates() {
        let mut state = golden();
        state.forget_backlog();
        assert!(state.rates.is_empty());
        state.tick();
        let text = drawn(&state, 120, 40);
        assert!(text.contains("161 calls in all processes"), "{text}");
        assert!(text.contains("0 calls/s, highest 0, last 1.00 s"), "{text}");
        assert!(text.contains("p50") && text.contains("p99"), "{text}");
        assert!(!drawn(&state, 60, 24).contains("p99"), "a narrow terminal shows fewer columns");
    }

    #[test]
    fn a_process_and_a_call_site_can_be_selected() {
        let mut state = golden();
        state.forget_backlog();
        let all = state.sites().len();
        state.select_process(1);
        let text = drawn(&state, 120, 40);
        assert!(text.contains("78 calls in mover (pid 15980)"), "{text}");
        assert!(state.sites().len() <= all);
        state.move_cursor(1);
        let name = state.sites()[1].name.clone();
        state.select_site();
        assert_eq!(state.site.as_ref(), Some(&name));
        assert!(drawn(&state, 120, 40).contains(&format!("calls/s of {name}")));
        assert!(state.moves().all(|named| named.site.name == name));
        state.select_site();
        assert_eq!(state.site, None);
        for _ in 0..3 {
            state.select_process(1);
        }
        assert_eq!(state.process_name(), None, "all processes come again after the last");
        state.move_cursor(isize::MAX);
        assert_eq!(state.cursor, state.sites().len() - 1);
    }
}
