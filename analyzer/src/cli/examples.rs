//! Examples for `--help`, each a line that can be copied.

/// All of it in four lines.
pub const ALL: &str = "\
Examples:
  mremap-analyzer run --trace DIR -- ./program arguments   record a program
  mremap-analyzer report DIR --sort time                   which line of code makes the slow calls?
  mremap-analyzer events DIR --failed                      which call fails, and how?
  mremap-analyzer show DIR --event 1                       one move as a picture";

/// `run`.
pub const RUN: &str = "\
Examples:
  mremap-analyzer run -- ./program arguments
  mremap-analyzer run --trace traces --detail vmas -- make test    record the VMAs of native moves, too
  mremap-analyzer run --mode emulate -- ./program                  as an older kernel would have it

Exit status: the program's own; 128 and the signal's number when a signal killed it; 2 when the program cannot be
reached by a preload library (the reason is on stderr).";

/// `report`.
pub const REPORT: &str = "\
Examples:
  mremap-analyzer report traces
  mremap-analyzer report traces --sort time --top 30      which line of code makes the slow calls?
  mremap-analyzer report traces --errno EFAULT            where do these failures come from?
  mremap-analyzer report traces --since 2s --until 3s --json

Percentiles are read from logarithmic buckets: within 0.8 % of the true value; the maximum is exact.
Exit status: 0 done, 2 a trace was damaged or unreadable (what could be read is reported).";

/// `events`.
pub const EVENTS: &str = "\
Examples:
  mremap-analyzer events traces --failed
  mremap-analyzer events traces --site pool.c --min-time 50us
  mremap-analyzer events traces --addr 0x7f0000000000..0x7f0000100000 --json | jq .site

Exit status: 0 done, 1 no call passes the filters, 2 a trace was damaged or unreadable.";

/// `show`.
pub const SHOW: &str = "\
Examples:
  mremap-analyzer show traces --event 1
  mremap-analyzer show traces --event 1 --ascii --width 100
  mremap-analyzer show traces --event 1 --svg > move.svg

Exit status: 0 drawn, 2 there is no such event, or its parts are not on record.";
