//! The main loop of `top`: poll traces, draw, handle keys.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ratatui::crossterm::event::{self, Event as Key, KeyCode, KeyEventKind, KeyModifiers};

use super::feed::Feed;
use super::state::State;
use super::view;
use crate::model::Filter;
use crate::named::Namer;
use crate::symbols::Symbols;

/// Rows that a page key moves the cursor by.
const PAGE: isize = 10;

/// Shows the live view until the user quits.
///
/// # Errors
/// Standard output is no terminal, or a path cannot be opened.
pub fn top(
    paths: &[PathBuf],
    filter: &mut Filter,
    symbols: &Symbols,
    interval: Duration,
) -> Result<()> {
    if !stdout().is_terminal() {
        bail!("top needs a terminal, and standard output is none; in a pipe use `events --follow`");
    }
    let mut feed = Feed::open(paths)?;
    let mut terminal = ratatui::init();
    let ended = show(&mut terminal, &mut feed, filter, symbols, interval);
    ratatui::restore();
    ended
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    feed: &mut Feed,
    filter: &mut Filter,
    symbols: &Symbols,
    interval: Duration,
) -> Result<()> {
    let mut namer = Namer::new(symbols);
    let mut state = State::new(interval);
    let mut next_tick = Instant::now() + interval;
    let mut is_backlog = true;
    loop {
        if !state.paused {
            let (_, events) = feed.poll_named(filter, &mut namer);
            for named in events {
                state.take(named);
            }
            state.processes = feed.processes();
            if std::mem::take(&mut is_backlog) {
                state.forget_backlog();
            }
            if Instant::now() >= next_tick {
                state.tick();
                next_tick = Instant::now() + interval;
            }
        }
        terminal.draw(|frame| view::draw(frame, &state))?;
        if event::poll(interval.min(Duration::from_millis(200)))? && !handle_input(&mut state)? {
            return Ok(());
        }
    }
}

/// Reads an input event. Returns false to quit.
fn handle_input(state: &mut State) -> Result<bool> {
    let Key::Key(key) = event::read()? else {
        return Ok(true);
    };
    if key.kind != KeyEventKind::Press {
        return Ok(true);
    }
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return Ok(false);
    }
    Ok(press(state, key.code))
}

/// Applies a key to the state. Returns false to quit.
fn press(state: &mut State, key: KeyCode) -> bool {
    match key {
        KeyCode::Enter if state.typing => state.typing = false,
        KeyCode::Esc if state.typing => {
            state.typing = false;
            state.filter.clear();
        }
        KeyCode::Backspace if state.typing => drop(state.filter.pop()),
        KeyCode::Char(letter) if state.typing => state.filter.push(letter),
        KeyCode::Char('?') => state.help = !state.help,
        KeyCode::Esc if state.help => state.help = false,
        KeyCode::Esc if state.site.is_some() => state.site = None,
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('p' | ' ') => state.paused = !state.paused,
        KeyCode::Char('s') => state.order = state.order.next(),
        KeyCode::Char('/') => state.typing = true,
        KeyCode::Tab => state.select_process(1),
        KeyCode::BackTab => state.select_process(-1),
        KeyCode::Enter => state.select_site(),
        KeyCode::Down | KeyCode::Char('j') => state.move_cursor(1),
        KeyCode::Up | KeyCode::Char('k') => state.move_cursor(-1),
        KeyCode::PageDown => state.move_cursor(PAGE),
        KeyCode::PageUp => state.move_cursor(-PAGE),
        KeyCode::Home => state.cursor = 0,
        KeyCode::End => state.move_cursor(isize::MAX),
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyCode;

    use super::press;
    use crate::live::state::{Order, State};

    #[test]
    fn keys_pause_sort_filter_and_quit() {
        let mut state = State::default();
        assert!(press(&mut state, KeyCode::Char('p')) && state.paused);
        assert!(press(&mut state, KeyCode::Char('s')) && state.order == Order::Calls);
        for key in ['/', 'q', 'x'] {
            assert!(press(&mut state, KeyCode::Char(key)));
        }
        assert_eq!(state.filter, "qx");
        assert!(press(&mut state, KeyCode::Enter) && !state.typing);
        assert!(press(&mut state, KeyCode::Char('?')) && state.help);
        assert!(press(&mut state, KeyCode::Esc) && !state.help, "Esc closes the help first");
        for key in [KeyCode::Down, KeyCode::End, KeyCode::Tab, KeyCode::BackTab, KeyCode::Enter] {
            assert!(press(&mut state, key), "{key:?}");
        }
        assert_eq!((state.cursor, state.site.as_deref()), (0, None), "nothing to select");
        assert!(!press(&mut state, KeyCode::Char('q')));
    }
}
