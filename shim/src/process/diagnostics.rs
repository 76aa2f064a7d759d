//! Messages about the library itself, as `tracing` events. The subscriber puts them into the trace,
//! and warnings on stderr too. It neither allocates nor locks.
//!
//! Events are made by hand and given to the subscriber directly. The macros of `tracing` register
//! each callsite in a global list first, which locks, allocates and can panic.

use tracing::callsite::{Callsite, Identifier};
use tracing::field::{Field, FieldSet, Value, Visit};
use tracing::metadata::Kind;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::recording::clock;
use crate::recording::ring;
use crate::sys;
use crate::sys::text::Text;

const STDERR: i32 = 2;
const NAME: &[u8] = b"mremap-shim: ";
const FIELDS: &[&str] = &["message", "detail", "number"];

struct Site(&'static Metadata<'static>);

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0
    }
}

macro_rules! kind_of_event {
    ($metadata:ident, $site:ident, $level:expr) => {
        static $site: Site = Site(&$metadata);
        static $metadata: Metadata<'static> = Metadata::new(
            "diagnostic",
            "mremap_shim",
            $level,
            None,
            None,
            None,
            FieldSet::new(FIELDS, Identifier(&$site)),
            Kind::EVENT,
        );
    };
}

kind_of_event!(WARNING, WARNING_SITE, Level::WARN);
kind_of_event!(INFORMATION, INFORMATION_SITE, Level::INFO);

/// Reports on stderr and in the trace that something is not as the user asked. At load only.
pub(crate) fn warn(message: &str) {
    send(&WARNING, message, "", None);
}

/// Records a decision of the library in the trace.
pub(crate) fn inform(message: &str, detail: &str, number: Option<i64>) {
    send(&INFORMATION, message, detail, number);
}

fn send(metadata: &'static Metadata<'static>, message: &str, detail: &str, number: Option<i64>) {
    let number = number.as_ref().map(|number| number as &dyn Value);
    let values = [Some(&message as &dyn Value), Some(&detail), number];
    let values = metadata.fields().value_set_all(&values);
    Diagnostics.event(&Event::new(metadata, &values));
}

struct Diagnostics;

impl Subscriber for Diagnostics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(Text::EMPTY);
        let is_warning = *event.metadata().level() == Level::WARN;
        line.0.push(NAME);
        event.record(&mut line);
        // The clock may take a system call, which a filter may not admit.
        if ring::is_wanted() {
            ring::append_message(
                if is_warning {
                    mremap_trace::Level::Warning
                } else {
                    mremap_trace::Level::Information
                },
                clock::ticks(),
                line.0.get().get(NAME.len()..).unwrap_or(&[]),
            );
        }
        if is_warning {
            line.0.push(b"\n");
            let _ = sys::write(STDERR, line.0.get());
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Appends the meaning of an errno that a file operation returns, as in "No space left on device
/// (ENOSPC)".
pub(crate) fn push_errno<const CAPACITY: usize>(line: &mut Text<CAPACITY>, errno: i32) {
    let meaning: &[u8] = match errno {
        libc::EPERM => b"Operation not permitted (EPERM)",
        libc::ENOENT => b"No such file or directory (ENOENT)",
        libc::EIO => b"Input/output error (EIO)",
        libc::ENOMEM => b"Cannot allocate memory (ENOMEM)",
        libc::EACCES => b"Permission denied (EACCES)",
        libc::ENOTDIR => b"Not a directory (ENOTDIR)",
        libc::EINVAL => b"Invalid argument (EINVAL)",
        libc::EMFILE => b"Too many open files (EMFILE)",
        libc::EFBIG => b"File too large (EFBIG)",
        libc::ENOSPC => b"No space left on device (ENOSPC)",
        libc::EROFS => b"Read-only file system (EROFS)",
        libc::EDQUOT => b"Disk quota exceeded (EDQUOT)",
        _ => {
            line.push(b"errno ");
            return line.push_number(u64::from(errno.unsigned_abs()));
        }
    };
    line.push(meaning);
}

/// The line that an event becomes.
struct Line(Text<512>);

// All methods are here, though three are used: the default ones format with `core::fmt`, whose code
// for numbers can panic.
impl Visit for Line {
    fn record_str(&mut self, _: &Field, value: &str) {
        self.0.push(value.as_bytes());
    }

    fn record_i64(&mut self, _: &Field, value: i64) {
        if value < 0 {
            self.0.push(b"-");
        }
        self.0.push_number(value.unsigned_abs());
    }

    fn record_u64(&mut self, _: &Field, _: u64) {}
    fn record_i128(&mut self, _: &Field, _: i128) {}
    fn record_u128(&mut self, _: &Field, _: u128) {}
    fn record_f64(&mut self, _: &Field, _: f64) {}
    fn record_bool(&mut self, _: &Field, _: bool) {}
    fn record_bytes(&mut self, _: &Field, _: &[u8]) {}
    fn record_debug(&mut self, _: &Field, _: &dyn core::fmt::Debug) {}
}
