//! `events --follow`: prints events as they are recorded.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::feed::Feed;
use crate::events;
use crate::model::Filter;
use crate::named::Namer;
use crate::report::table::TextStyle;
use crate::symbols::Symbols;

/// Time between two polls.
const PAUSE: Duration = Duration::from_millis(200);
/// Polls without a running process or a new event after which following ends.
const LAST_POLLS: u32 = 3;

/// Prints events until no traced process is running.
pub fn follow(
    paths: &[PathBuf],
    filter: &mut Filter,
    symbols: &Symbols,
    json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut feed = Feed::open(paths)?;
    let mut namer = Namer::new(symbols);
    let style = TextStyle::of_stdout();
    let mut idle = 0;
    loop {
        let (has_new, events) = feed.poll_named(filter, &mut namer);
        let (_, running) = feed.processes();
        idle = if has_new || running > 0 { 0 } else { idle + 1 };
        for named in events {
            if json {
                events::write_json(&named, &mut *out)?;
            } else {
                events::write_line(&named, filter.start, &style, out)?;
            }
        }
        out.flush()?;
        if idle == LAST_POLLS {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}
