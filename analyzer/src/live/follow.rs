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
        let seen = feed.poll();
        filter.start = feed.start();
        idle = if seen.is_empty() && feed.processes().1 == 0 { idle + 1 } else { 0 };
        for event in seen {
            let Some(process) = feed.process(event.process) else {
                continue;
            };
            if !filter.passes(process, event.process, event.tid, &event.call) {
                continue;
            }
            let named = namer.name(process, event);
            if !named.passes_site(filter) {
                continue;
            }
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
