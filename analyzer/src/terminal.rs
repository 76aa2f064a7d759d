//! The terminal: width, colours, character set, progress.

use std::cell::RefCell;
use std::io::{IsTerminal, Stdout, stderr, stdout};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::ColorChoice;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Columns if the width is unknown.
pub const DEFAULT_WIDTH: usize = 80;
/// Work shorter than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns the columns of the terminal, or `COLUMNS`; `None` in a pipe.
pub fn width() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    columns.or_else(|| width_of(&stdout())).filter(|columns| *columns >= 40)
}

fn width_of(terminal: &Stdout) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    Some(usize::from(size.ws_col))
}

/// Whether characters beyond ASCII may be printed.
pub fn is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// What `--color` says.
static COLOR: OnceLock<ColorChoice> = OnceLock::new();

/// Sets when colours are printed, for the whole program. Only the first call counts.
pub fn set_color(choice: ColorChoice) {
    COLOR.get_or_init(|| choice);
}

/// Whether colours may be printed to standard output.
pub fn is_coloured() -> bool {
    is_coloured_on(&stdout())
}

/// Whether colours may be printed to an output. Without `--color`: on a terminal that is not dumb,
/// unless `NO_COLOR` is set.
pub fn is_coloured_on(place: &impl IsTerminal) -> bool {
    match COLOR.get() {
        Some(ColorChoice::Always) => return true,
        Some(ColorChoice::Never) => return false,
        Some(ColorChoice::Auto) | None => {}
    }
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !refused && !dumb && place.is_terminal()
}

/// A bar on stderr, if that is a terminal and the work takes longer than a second.
pub struct Progress {
    start: Instant,
    total: u64,
    done: RefCell<u64>,
    what: &'static str,
    bar: RefCell<Option<ProgressBar>>,
}

impl Progress {
    /// Begins work of `total` steps.
    pub fn new(total: u64, what: &'static str) -> Self {
        Self { start: Instant::now(), total, done: RefCell::new(0), what, bar: RefCell::new(None) }
    }

    /// Counts one step.
    pub fn step(&self) {
        let mut done = self.done.borrow_mut();
        *done += 1;
        let mut bar = self.bar.borrow_mut();
        match &*bar {
            Some(bar) => bar.set_position(*done),
            // A step may be short: read the clock only at every 16th.
            None if done.is_multiple_of(16) && self.start.elapsed() > PATIENCE => {
                *bar = stderr().is_terminal().then(|| self.begin(*done));
            }
            None => {}
        }
    }

    fn begin(&self, done: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
            bar.set_style(style);
        }
        bar.set_message(self.what);
        bar.set_position(done);
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}
