//! What this kernel and its limits allow.

use super::check::{Check, Group};
use super::self_test::Answers;
use crate::model::names;

const HERE: Group = Group::Machine;
/// The kernel's own default for `vm.max_map_count`.
const DEFAULT_MAP_COUNT: u64 = 65_530;

/// Examines it.
pub fn look(native: &Result<Answers, String>) -> Vec<Check> {
    let mut checks = match native {
        Ok(answers) => kernel(answers),
        Err(why) => vec![Check::problem(
            HERE,
            "multi-vma-move",
            format!("what this kernel can do could not be tried: {why}"),
            "look for a sandbox that forbids mremap or starting programs, and allow it",
        )],
    };
    checks.extend([maps_file(), map_count(), seccomp()]);
    checks.extend(overcommit());
    checks
}

fn kernel(answers: &Answers) -> Vec<Check> {
    let system = rustix::system::uname();
    let kernel = format!(
        "Linux {} on {}",
        system.release().to_string_lossy(),
        system.machine().to_string_lossy()
    );
    let mut checks = vec![several(&kernel, answers)];
    if let Some(machine) = &answers.machine {
        checks.push(available(
            "procmap-query",
            machine.procmap_query,
            "PROCMAP_QUERY (Linux 6.11) answers: VMAs are found by one question each",
            "no PROCMAP_QUERY (Linux 6.11)",
            "VMAs are found by bisection or in maps text",
        ));
        checks.push(available(
            "mseal",
            machine.mseal,
            "mseal (Linux 6.10) is there: a sealed VMA can be neither moved nor replaced (EPERM)",
            "no mseal (Linux 6.10)",
            "no VMA can be sealed",
        ));
        checks.push(available(
            "userfaultfd",
            machine.userfaultfd,
            "userfaultfd can be used: a VMA registered with one moves only alone, and the shim looks for that",
            "no userfaultfd for this user",
            "no VMA can be registered with one",
        ));
    }
    checks
}

fn several(kernel: &str, answers: &Answers) -> Check {
    let name = "multi-vma-move";
    match (answers.grow, answers.several) {
        (libc::ENOSYS | libc::EPERM, _) => Check::problem(
            HERE,
            name,
            format!(
                "{kernel}: mremap itself is refused here ({})",
                names::errno(answers.grow as u32)
            ),
            "a seccomp filter or a container's profile forbids it; allow the system call mremap",
        ),
        (_, 0) if answers.intact => Check::fine(
            HERE,
            name,
            format!("{kernel} moves several VMAs and gaps in one call (tried just now)"),
        ),
        (_, 0) => Check::problem(
            HERE,
            name,
            format!("{kernel} took a move of several VMAs and did not keep what lay under the gap"),
            "this kernel's mremap is not that of Linux 6.17; run with --mode emulate",
        ),
        (_, libc::EFAULT) => Check::fine(
            HERE,
            name,
            format!(
                "{kernel} moves one VMA at a time (EFAULT for two and a gap, tried just now): this is what the shim is for"
            ),
        ),
        (_, errno) => Check::note(
            HERE,
            name,
            format!(
                "{kernel}: whether it moves several VMAs at once is not known ({} for two and a gap)",
                names::errno(errno as u32)
            ),
        ),
    }
}

fn available(name: &'static str, errno: i32, there: &str, absent: &str, meaning: &str) -> Check {
    if errno == 0 {
        return Check::fine(HERE, name, there);
    }
    Check::note(HERE, name, format!("{absent} ({}): {meaning}", names::errno(errno as u32)))
}

fn maps_file() -> Check {
    match std::fs::read_to_string("/proc/thread-self/maps") {
        Ok(maps) if !maps.is_empty() => {
            let vmas = maps.lines().count();
            Check::fine(
                HERE,
                "proc",
                format!("/proc can be read: names of files are seen ({vmas} VMAs in this process)"),
            )
        }
        _ => Check::note(
            HERE,
            "proc",
            "/proc cannot be read: VMAs are found by bisection; one that may not move with others is not told apart",
        )
        .with_fix("mount /proc in this container or chroot"),
    }
}

fn map_count() -> Check {
    let name = "max-map-count";
    match read_number("/proc/sys/vm/max_map_count") {
        None => Check::note(HERE, name, "vm.max_map_count cannot be read"),
        Some(limit) if limit < DEFAULT_MAP_COUNT => Check::note(
            HERE,
            name,
            format!("vm.max_map_count is {limit}, below the usual {DEFAULT_MAP_COUNT}: a large move may end half-way"),
        )
        .with_fix(format!("sysctl vm.max_map_count={DEFAULT_MAP_COUNT}")),
        Some(limit) => Check::fine(
            HERE,
            name,
            format!("vm.max_map_count is {limit} mappings a process"),
        ),
    }
}

fn overcommit() -> Option<Check> {
    (read_number("/proc/sys/vm/overcommit_memory")? == 2).then(|| {
        Check::note(
            HERE,
            "overcommit",
            "vm.overcommit_memory is 2: the question \"is this one VMA?\" charges the commit limit for an instant",
        )
    })
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn seccomp() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    match mode.map(str::trim) {
        Some("0") => Check::fine(HERE, "seccomp", "no seccomp filter stands above this process"),
        Some("2") => Check::note(
            HERE,
            "seccomp",
            "a seccomp filter stands above this process, and programs inherit it: the self-test below tells whether \
             it lets the shim work",
        ),
        _ => Check::note(HERE, "seccomp", "whether a seccomp filter stands above cannot be told"),
    }
}
