//! The live view, drawn from the state alone.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::state::State;
use crate::model::units::{count, duration};
use crate::picture::{self, Pen};
use crate::show::stretches;
use crate::terminal;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let rows = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Min(6),
        Constraint::Length(9),
        Constraint::Length(1),
    ])
    .split(frame.area());
    let [head, rates, sites, moves, keys] = rows[..] else {
        return;
    };
    frame.render_widget(Paragraph::new(summary(state)), head);
    draw_rates(frame, state, rates);
    draw_sites(frame, state, sites);
    draw_move(frame, state, moves);
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
        .block(Block::bordered().title(title));
    frame.render_widget(chart, area);
}

fn draw_sites(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let rows = state
        .sites()
        .into_iter()
        .take(usize::from(area.height))
        .map(|row| {
            let cells = [
                row.name.clone(),
                format!("{:>9.0}", state.per_second(row.rate)),
                format!("{:>12}", count(row.calls)),
                format!("{:>10}", duration(row.time)),
                format!("{:>8}", count(row.failed)),
            ];
            Row::new(cells)
        });
    let widths = [
        Constraint::Min(20),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(8),
    ];
    let heads = ["call site", "  calls/s", "       calls", "      time", "  failed"];
    let shown = if state.filter.is_empty() {
        String::new()
    } else {
        format!(", only *{}*", state.filter)
    };
    let title = format!(" call sites by {}{shown} ", state.order.name());
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(faint()))
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn draw_move(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let block = Block::bordered().title(" last move ");
    let Some(named) = state.moves.front() else {
        frame.render_widget(
            Paragraph::new("none was taken apart yet")
                .style(faint())
                .block(block),
            area,
        );
        return;
    };
    let pen = Pen::new(!terminal::is_utf8(), false);
    let columns = usize::from(area.width.saturating_sub(4)).max(20);
    let layout = picture::lay_out(&stretches(&named.event), columns, &pen);
    let mut lines = vec![format!(
        "{} parts, {} gaps, {}, {}",
        named.event.parts.len(),
        named.event.gaps.len(),
        duration(named.duration),
        named.site.name
    )];
    lines.extend(picture::draw(&layout, &pen, false));
    lines.extend(picture::draw(&layout, &pen, true));
    frame.render_widget(Paragraph::new(lines.join("\n")).block(block), area);
}

fn help(state: &State) -> String {
    if state.typing {
        format!("filter: {}_   (Enter takes it, Esc drops it)", state.filter)
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
    fn an_empty_view_fits_a_narrow_and_a_wide_terminal() {
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
