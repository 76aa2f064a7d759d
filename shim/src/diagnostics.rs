//! What the shim has to say about itself: `tracing` events, taken by a subscriber of ours that neither
//! allocates nor locks and writes them on stderr, a line each. Used at load only, and only when there is
//! something to say: installing it allocates once, which nothing below the hook may.

use core::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::sys;

const STDERR: i32 = 2;

/// Makes this library's copy of `tracing` send its events to us.
pub(crate) fn install() {
    let _ = tracing::dispatcher::set_global_default(tracing::Dispatch::new(ToStderr));
}

struct ToStderr;

impl Subscriber for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line {
            bytes: [0; 512],
            len: 0,
        };
        let _ = line.write_str("mremap-shim: ");
        event.record(&mut line);
        let _ = line.write_str("\n");
        let _ = sys::write(STDERR, line.bytes.get(..line.len).unwrap_or(b"\n"));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A line being written; what does not fit is cut.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

impl Visit for Line {
    fn record_str(&mut self, _: &Field, value: &str) {
        let _ = self.write_str(value);
    }

    fn record_i64(&mut self, _: &Field, value: i64) {
        let _ = write!(self, "{value}");
    }

    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self, "{value:?}");
    }
}
