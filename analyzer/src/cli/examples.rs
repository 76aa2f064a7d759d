//! The examples and exit statuses at the end of each `--help`. Every line can be copied.

/// The program as a whole.
pub const ALL: &str = "\
Examples:
  mremap-analyzer doctor ./program                      does the shim load, and can it reach the program?
  mremap-analyzer run --trace DIR ./program arguments   record a program
  mremap-analyzer report DIR --sort time                which line of code makes the slow calls?
  mremap-analyzer events DIR --failed                   which calls fail, and why?
  mremap-analyzer check DIR                             would this run on Linux 6.1?
  mremap-analyzer show DIR --event 1                    one move as a picture";

/// `run`.
pub const RUN: &str = "\
Examples:
  mremap-analyzer run ./program arguments
  mremap-analyzer run --trace traces --detail vmas make test    record the VMAs of native moves, too
  mremap-analyzer run --mode emulate ./program                  emulate moves, as an older kernel would need
  mremap-analyzer run --libc patch --stack 8 ./program          realloc's calls, too, and who makes them
  mremap-analyzer run -- -odd-name                              after --, nothing is an option of run

Exit status: that of the program, or 128 plus the number of the signal that killed it. 125 the calls cannot be
recorded (--best-effort runs the program all the same). 126 the program cannot be executed, or the shim cannot reach
it. 127 there is no such program. The reason, and what would work, is on stderr.";

/// `attach`.
#[cfg(target_arch = "x86_64")]
pub const ATTACH: &str = "\
Examples:
  mremap-analyzer attach 4711                           prints where the trace is
  mremap-analyzer attach --trace traces --stack 8 4711
  mremap-analyzer events --follow traces                what it calls, as it happens
  mremap-analyzer detach 4711                           end recording; attach again at any time
  mremap-analyzer attach --reach all 4711               static and Go programs: by a tracer, until Ctrl-C

The library is loaded by one of the process's own threads, and libc's mremap is made to jump to it. System calls
made without libc's mremap are not seen, nor is a program that the process executes.
Exit status: 0 success, 125 the process cannot be attached to, with the reason on stderr.";

/// `detach`.
#[cfg(target_arch = "x86_64")]
pub const DETACH: &str = "\
Examples:
  mremap-analyzer detach 4711

libc's code is restored. The library stays in the process and does nothing. Children that the process has forked
record until they end.
Exit status: 0 success, 125 the process is not attached, or cannot be traced.";

/// `doctor`.
pub const DOCTOR: &str = "\
Examples:
  mremap-analyzer doctor                     check this machine and the shim, with a self-test
  mremap-analyzer doctor ./program           and whether the shim will see the calls of this program
  mremap-analyzer doctor --json python3 | jq '.checks[] | select(.state != \"ok\")'

The program is not run: doctor reads its files, and the loader lists the libraries that it would load.
Exit status: 0 no problem, 1 problems (each with its fix), 2 the command was wrong.";

/// `report`.
pub const REPORT: &str = "\
Examples:
  mremap-analyzer report traces
  mremap-analyzer report traces --sort time --top 30      which line of code makes the slow calls?
  mremap-analyzer report traces --errno EFAULT            where do these failures come from?
  mremap-analyzer report traces --since 2s --until 3s --json

Percentiles come from logarithmic buckets: within 0.8 % of the true value. The maximum is exact.
Exit status: 0 success, 2 a trace was damaged or unreadable (what could be read is reported).";

/// `events`.
pub const EVENTS: &str = "\
Examples:
  mremap-analyzer events traces --failed
  mremap-analyzer events traces --follow                  as they happen
  mremap-analyzer events traces --site pool.c --min-time 50us
  mremap-analyzer events traces --addr 0x7f0000000000..0x7f0000100000 --json | jq .site

Exit status: 0 success, 1 no call passes the filters, 2 a trace was damaged or unreadable.";

/// `show`.
pub const SHOW: &str = "\
Examples:
  mremap-analyzer show traces --event 1
  mremap-analyzer show traces --event 1 --ascii --width 100
  mremap-analyzer show traces --event 1 --svg > move.svg

When the VMAs of a call were not recorded, its lengths are drawn (`run --detail vmas` records those of native moves).
Exit status: 0 success, 2 there is no such event, or a trace was damaged or unreadable.";

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

Exit status: 0 success (also when the reader of a pipe has gone), 2 a trace was damaged or unreadable, or the output
cannot be written.";

/// `pack`.
pub const PACK: &str = "\
Examples:
  mremap-analyzer pack traces -o report.mremapz           then, on any machine: mremap-analyzer report report.mremapz
  mremap-analyzer pack --redact traces -o public.mremapz

Names are looked up now, so the reader needs neither the programs nor their debug information.
Exit status: 0 success, 2 a trace was damaged or unreadable (the others are packed), or the file cannot be written.";

/// `html`.
pub const HTML: &str = "\
Examples:
  mremap-analyzer html traces                       writes mremap.html
  mremap-analyzer html --outcome emulated --sysroot /mnt/other -o moves.html traces

The page is one file and needs no network. It counts every event and lists up to 4,000 of them.
Exit status: 0 success, 2 a trace was damaged or unreadable, or the file cannot be written.";

/// `top`.
pub const TOP: &str = "\
Examples:
  mremap-analyzer run --trace traces ./server &
  mremap-analyzer top traces
  mremap-analyzer top traces --interval 200ms --failed

Keys: ? shows all of them. The arrows scroll, Enter selects a call site, Tab a process, s sorts, / filters by name,
p pauses, q quits. Rates leave out what was recorded before.
Exit status: 0 success, 2 there is no terminal or no such trace.";

/// `completions`.
pub const COMPLETIONS: &str = "\
Examples:
  mremap-analyzer completions bash > ~/.local/share/bash-completion/completions/mremap-analyzer
  mremap-analyzer completions zsh > ~/.zfunc/_mremap-analyzer
  mremap-analyzer completions fish > ~/.config/fish/completions/mremap-analyzer.fish";

/// `man`.
pub const MAN: &str = "\
Examples:
  mremap-analyzer man run > ~/.local/share/man/man1/mremap-analyzer-run.1
  mremap-analyzer man > mremap-analyzer.1                                  man ./mremap-analyzer.1 shows it";
