//! Examples for `--help`, each a line that can be copied.

/// All of it in four lines.
pub const ALL: &str = "\
Examples:
  mremap-analyzer doctor ./program                         can it be reached? does the shim load?
  mremap-analyzer run --trace DIR -- ./program arguments   record a program
  mremap-analyzer report DIR --sort time                   which line of code makes the slow calls?
  mremap-analyzer events DIR --failed                      which call fails, and how?
  mremap-analyzer check DIR                                would this run on Linux 6.1?
  mremap-analyzer show DIR --event 1                       one move as a picture";

/// `run`.
pub const RUN: &str = "\
Examples:
  mremap-analyzer run -- ./program arguments
  mremap-analyzer run --trace traces --detail vmas -- make test    record the VMAs of native moves, too
  mremap-analyzer run --mode emulate -- ./program                  as an older kernel would have it

Exit status: the program's own; 128 and the signal's number when a signal killed it; 127 when there is no such program;
126 when it cannot be run, or a preload library cannot reach it (the reason, and what would work, is on stderr).";

/// `doctor`.
pub const DOCTOR: &str = "\
Examples:
  mremap-analyzer doctor                     this machine and the shim, with a self-test
  mremap-analyzer doctor ./program           and whether this program's calls will be seen
  mremap-analyzer doctor --json python3 | jq '.checks[] | select(.state != \"ok\")'

Nothing of the program runs: its files are read, and the loader is asked what it would load.
Exit status: 0 nothing is in the way, 1 something is (each with its fix), 2 the command was wrong.";

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
  mremap-analyzer events traces --follow                  as they happen
  mremap-analyzer events traces --site pool.c --min-time 50us
  mremap-analyzer events traces --addr 0x7f0000000000..0x7f0000100000 --json | jq .site

Exit status: 0 done, 1 no call passes the filters, 2 a trace was damaged or unreadable.";

/// `show`.
pub const SHOW: &str = "\
Examples:
  mremap-analyzer show traces --event 1
  mremap-analyzer show traces --event 1 --ascii --width 100
  mremap-analyzer show traces --event 1 --svg > move.svg

Where the VMAs of a call are not on record, its lengths are drawn (`run --detail vmas` records those of native moves).
Exit status: 0 drawn, 2 there is no such event, or a trace was damaged or unreadable.";

/// `check`.
pub const CHECK: &str = "\
Examples:
  mremap-analyzer check traces                        would this run on Linux 6.1? were moves atomic?
  mremap-analyzer check traces --json | jq .verdict
  mremap-analyzer check traces --site pool.c

Exit status: 0 clean, 1 findings, 2 cannot say (calls were lost, a trace was damaged, or the VMAs of native moves were
not recorded).";

/// `diff`.
pub const DIFF: &str = "\
Examples:
  mremap-analyzer diff traces-6.1 traces-6.18
  mremap-analyzer diff before after --outcome emulated --top 50
  mremap-analyzer diff --a old1 old2 old3 --b new1 new2 new3      medians and noise of several runs
  mremap-analyzer diff before after --folded time > diff.folded   for flamegraph.pl after difffolded.pl

The verdict goes by total time, then calls, then latency. A number has changed if all runs of one side are above those
of the other and the medians differ by more than the tolerance. A single run says little of noise: give several to see
small changes of latency. Call sites are matched by function and line, then by function.
Exit status: 0 no difference, 1 they differ, 2 a trace was damaged or unreadable.";

/// `export`.
pub const EXPORT: &str = "\
Examples:
  mremap-analyzer export --format parquet -o lake traces      then: SELECT outcome, count(*) FROM
                                                              read_parquet('lake/**/*.parquet', hive_partitioning=true)
  mremap-analyzer export --format chrome -o mremap.json traces       open it in ui.perfetto.dev
  mremap-analyzer export --format ctf -o ctf traces                  babeltrace2 ctf
  mremap-analyzer export --format folded --weight time traces | flamegraph.pl > mremap.svg
  mremap-analyzer export --format csv --failed traces | head

Exit status: 0 done (also when the reader of a pipe has gone), 2 a trace was damaged or unreadable, or the output
cannot be written.";

/// `html`.
pub const HTML: &str = "\
Examples:
  mremap-analyzer html -o mremap.html traces
  mremap-analyzer html --outcome emulated --sysroot /mnt/other -o moves.html traces

The page is one file that needs no network. It counts every event and lists up to 4,000 of them.
Exit status: 0 done, 2 a trace was damaged or unreadable, or the file cannot be written.";

/// `top`.
pub const TOP: &str = "\
Examples:
  mremap-analyzer run --trace traces -- ./server &
  mremap-analyzer top traces
  mremap-analyzer top traces --interval 200ms --failed

Keys: q quits, p pauses, s sorts by the next column, / filters call sites by name.
Exit status: 0 quit by the user, 2 there is no terminal or no such trace.";
