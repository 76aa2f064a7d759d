//! Random torture: threads, forks from everywhere, vfork, exec, signals whose handlers move ranges,
//! libraries that are loaded and unloaded, exits of every kind. The program checks its own memory
//! and counts its own calls. The traces must have each call once, as a record or in a loss count,
//! and no others. It runs for seconds, or for `cargo xtask test --torture SECONDS`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::{
    Preload, Trace, is_guest, kernel_moves_several_vmas, read_trace_file, trace_files,
};
use mremap_trace::Call;

/// How long one round makes processes.
const ROUND: Duration = Duration::from_secs(4);

/// How long the last process may take to end after that, on a busy machine, before it counts as
/// hanging.
const HANG_TIMEOUT: Duration = Duration::from_mins(2);

/// One combination of settings, in the order of [`NAMES`].
type Settings = [&'static str; 7];

const NAMES: [&str; 7] =
    ["MODE", "VMA_SOURCE", "TRACE_DETAIL", "TRACE_KEEP", "TRACE_SIZE", "STACK", "LIBC"];

/// The settings of a seed, in turn.
const ROUNDS: [Settings; 6] = [
    ["emulate", "auto", "calls", "first", "16M", "0", "leave"],
    ["emulate", "bisect", "vmas", "last", "64K", "8", "patch"],
    ["auto", "query", "vmas", "first", "1M", "0", "leave"],
    ["emulate", "maps", "vmas", "first", "64K", "0", "leave"],
    ["auto", "auto", "calls", "last", "256K", "20", "patch"],
    ["passthrough", "auto", "calls", "last", "1M", "0", "patch"],
];

/// The ledger's entry of one process image. `torture.h` has the layout.
#[derive(Debug, Clone, Copy)]
struct Account {
    pid: u64,
    begun: u64,
    returned: u64,
}

/// Reads the accounts that were opened. The first is unused.
fn read_ledger(path: &Path) -> Vec<Account> {
    let bytes = fs::read(path).expect("the ledger is readable");
    let mut words =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    let opened = words.next().expect("a ledger");
    let mut next = || words.next().expect("an account");
    let _deadline_and_failures = (next(), next());
    let account = |_| Account { pid: next(), begun: next(), returned: next() };
    (0..=opened).map(account).collect()
}

/// Calls of the processes with one id: by the ledger, and as seen in their traces.
#[derive(Debug, Default)]
struct Calls {
    begun: u64,
    returned: u64,
    seen: u64,
}

impl Calls {
    fn agree(&self) -> bool {
        (self.returned..=self.begun).contains(&self.seen)
    }
}

/// Decodes the number of a call, which is its address: its account, and its index there.
fn number_of(call: &Call) -> Option<(u32, u32)> {
    let number = call.old >> 1;
    (call.old & 1 == 1).then_some(((number >> 32) as u32, number as u32))
}

/// Checks that each call is once in the traces of its process, and no other call is.
fn reconcile(accounts: &[Account], traces: &[Trace]) -> u64 {
    let mut of_pid: BTreeMap<u64, Calls> = BTreeMap::new();
    for account in accounts {
        let calls = of_pid.entry(account.pid).or_default();
        calls.begun += account.begun;
        calls.returned += account.returned;
    }
    let mut numbers = HashSet::new();
    for trace in traces {
        let pid = u64::from(trace.header.pid);
        of_pid.entry(pid).or_default().seen += trace.calls_and_losses();
        for number in trace.calls().iter().filter_map(number_of) {
            let account = accounts[number.0 as usize];
            assert_eq!(account.pid, pid, "call {number:?} is in the trace of another process");
            assert!(u64::from(number.1) < account.begun, "no process has made call {number:?}");
            assert!(numbers.insert(number), "call {number:?} was recorded twice");
        }
    }
    let wrong: Vec<_> = of_pid.iter().filter(|(_, calls)| !calls.agree()).collect();
    assert!(wrong.is_empty(), "processes whose calls do not add up: {wrong:#?}");
    assert!(!numbers.is_empty(), "no call by number was recorded");
    of_pid.values().map(|calls| calls.seen).sum()
}

/// Waits for the end. Describes a program that hangs, and kills it with all its children.
fn wait_for_end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + ROUND + HANG_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            return status;
        }
        if Instant::now() > deadline {
            let group = rustix::process::Pid::from_child(child);
            let members = members_of(child.id());
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            panic!("it hangs; its processes were:\n{members}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes of a group, with what each of their threads waits for.
fn members_of(group: u32) -> String {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes.filter_map(|process| describe_member(&process.path(), group)).collect()
}

fn describe_member(process: &Path, group: u32) -> Option<String> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let after_name = stat.rsplit(')').next()?;
    if after_name.split_whitespace().nth(2)?.parse() != Ok(group) {
        return None;
    }
    let threads = fs::read_dir(process.join("task")).ok()?.flatten();
    let read = |path: &Path, name| fs::read_to_string(path.join(name)).unwrap_or_default();
    let describe = |path: &Path| format!("  {} {}", read(path, "wchan"), read(path, "syscall"));
    let threads: String = threads.map(|thread| describe(&thread.path())).collect();
    Some(format!("{stat}{threads}"))
}

/// A trace, or nothing where its process was killed before it had one: the magic number is written
/// last.
fn read_trace(path: &Path) -> Option<Trace> {
    let bytes = read_trace_file(path);
    let is_begun = bytes.iter().take(8).any(|&byte| byte != 0);
    is_begun.then(|| Trace::read_torn(&bytes).0)
}

fn run_round(seed: u64, settings: Settings) {
    let directory = tempfile::tempdir().expect("a directory");
    let (traces, ledger) = (directory.path().join("traces"), directory.path().join("ledger"));
    fs::create_dir(&traces).expect("a directory");
    let fixture = |name| Artifacts::get().fixture(name);
    let settings_by_name: Vec<_> = NAMES.into_iter().zip(settings).collect();
    let mut run = Preload::fixture("torture").setting("TRACE", &traces).settings(&settings_by_name);
    let command = run.command();
    command.arg(ROUND.as_secs().to_string()).arg(seed.to_string());
    command.args([&ledger, &fixture("libtorture_plugin.so")]);
    // malloc's own calls would be in the traces, but in no account.
    command.env("MALLOC_MMAP_MAX_", "0");
    let mut child = command.process_group(0).spawn().expect("the fixture runs");
    let status = wait_for_end(&mut child);
    assert!(status.success(), "seed {seed}, {settings:?}: {status}");

    let accounts = read_ledger(&ledger);
    let traces: Vec<Trace> =
        trace_files(&traces).iter().filter_map(|path| read_trace(path)).collect();
    let calls = reconcile(&accounts, &traces);
    println!("seed {seed}, {settings:?}: {} processes, {calls} calls", traces.len());
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn records_every_call_once_or_counts_it_as_lost() {
    let seconds = setting("MREMAP_TORTURE_SECONDS").unwrap_or(if is_guest() { 1 } else { 16 });
    let end = Instant::now() + Duration::from_secs(seconds);
    // A new seed each time. It is printed; MREMAP_TORTURE_SEED repeats the run, up to the order in
    // which threads run.
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = clock.expect("a time after 1970").as_millis() as u64;
    let first = setting("MREMAP_TORTURE_SEED").unwrap_or(now);
    // Where nothing is emulated, the kernel itself must move several VMAs.
    let is_possible =
        |settings: &Settings| settings[0] != "passthrough" || kernel_moves_several_vmas();
    let rounds: Vec<Settings> = ROUNDS.into_iter().filter(is_possible).collect();
    for seed in first.. {
        run_round(seed, rounds[seed as usize % rounds.len()]);
        if Instant::now() >= end {
            break;
        }
    }
}
