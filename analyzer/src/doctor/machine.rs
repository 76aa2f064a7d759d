//! Checks of the kernel and its limits.

use super::check::{Check, Group};
use super::self_test::Results;
use crate::model::names;

const GROUP: Group = Group::Machine;
/// The kernel's default for `vm.max_map_count`.
const DEFAULT_MAP_COUNT: u64 = 65_530;

/// Checks the machine, given the results of the self-test without the shim.
pub fn check(native: &Result<Results, String>) -> Vec<Check> {
    let mut checks = match native {
        Ok(results) => kernel(results),
        Err(why) => vec![Check::problem(
            GROUP,
            "multi-vma-move",
            format!("cannot try what this kernel supports: {why}"),
            "a sandbox may forbid mremap or new processes; allow both",
        )],
    };
    checks.extend([maps_file(), map_count(), seccomp()]);
    checks
}

fn kernel(results: &Results) -> Vec<Check> {
    let system = rustix::system::uname();
    let kernel = format!(
        "Linux {} on {}",
        system.release().to_string_lossy(),
        system.machine().to_string_lossy()
    );
    let mut checks = vec![multi_vma(&kernel, results)];
    checks.extend(large_folios(&system.release().to_string_lossy()));
    if let Some(machine) = &results.machine {
        checks.push(feature(
            "procmap-query",
            machine.procmap_query,
            "PROCMAP_QUERY (Linux 6.11) works: finding a VMA takes one query",
            "no PROCMAP_QUERY (Linux 6.11)",
            "VMAs are found by probing, or in the text of /proc/self/maps",
        ));
        checks.push(feature(
            "mseal",
            machine.mseal,
            "mseal (Linux 6.10) works: a sealed VMA can be neither moved nor replaced (EPERM)",
            "no mseal (Linux 6.10)",
            "no VMA can be sealed",
        ));
        checks.push(feature(
            "userfaultfd",
            machine.userfaultfd,
            "userfaultfd works: a VMA registered with one cannot move together with others; the shim checks that",
            "no userfaultfd for this user",
            "no VMA can be registered with one",
        ));
    }
    checks
}

fn multi_vma(kernel: &str, results: &Results) -> Check {
    let name = "multi-vma-move";
    match (results.grow, results.several) {
        (libc::ENOSYS | libc::EPERM, _) => Check::problem(
            GROUP,
            name,
            format!("{kernel}: mremap fails with {}", names::errno(results.grow as u32)),
            "a seccomp filter, or the profile of a container, forbids it; allow the system call mremap",
        ),
        (_, 0) if results.intact => Check::fine(
            GROUP,
            name,
            format!("{kernel} moves several VMAs and gaps in one call (just tried)"),
        ),
        (_, 0) => Check::problem(
            GROUP,
            name,
            format!("{kernel} moved several VMAs but replaced what was mapped under the gap"),
            "the mremap of this kernel is not that of Linux 6.17; run with --mode emulate",
        ),
        (_, libc::EFAULT) => Check::fine(
            GROUP,
            name,
            format!(
                "{kernel} moves one VMA at a time (just tried: two and a gap fail with EFAULT), so the shim emulates"
            ),
        ),
        (_, errno) => Check::note(
            GROUP,
            name,
            format!(
                "{kernel}: unknown whether it moves several VMAs in one call (two and a gap fail with {})",
                names::errno(errno as u32)
            ),
        ),
    }
}

/// Warns of a bug that `mremap` has in Linux 6.17.0 to 6.17.8, with the shim or without.
fn large_folios(release: &str) -> Option<Check> {
    let is_digit_or_dot = |letter: &char| letter.is_ascii_digit() || *letter == '.';
    let version: String = release.chars().take_while(is_digit_or_dot).collect();
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let [major, minor, patch] = [(); 3].map(|()| numbers.next().unwrap_or(0u32));
    ((major, minor) == (6, 17) && patch < 9).then(|| {
        Check::note(
            GROUP,
            "large-folios",
            format!(
                "Linux {release} may have a bug of 6.17.0 to 6.17.8: a move of memory in large folios can make read-only \
                 copy-on-write pages writable"
            ),
        )
        .with_fix(
            "upgrade to 6.17.9 or newer, or to a package with \"mm/mremap: honour writable bit in mremap pte batching\"",
        )
    })
}

fn feature(name: &'static str, errno: i32, present: &str, absent: &str, effect: &str) -> Check {
    if errno == 0 {
        return Check::fine(GROUP, name, present);
    }
    Check::note(GROUP, name, format!("{absent} ({}): {effect}", names::errno(errno as u32)))
}

fn maps_file() -> Check {
    match std::fs::read_to_string("/proc/thread-self/maps") {
        Ok(maps) if !maps.is_empty() => {
            let vmas = maps.lines().count();
            Check::fine(
                GROUP,
                "proc",
                format!("/proc is readable: the files behind VMAs are seen ({vmas} VMAs in this process)"),
            )
        }
        _ => Check::note(
            GROUP,
            "proc",
            "/proc is not readable: VMAs are found by probing, and those that must not move together with others are not \
             recognized",
        )
        .with_fix("mount /proc in this container or chroot"),
    }
}

fn map_count() -> Check {
    let name = "max-map-count";
    match read_number("/proc/sys/vm/max_map_count") {
        None => Check::note(GROUP, name, "cannot read vm.max_map_count"),
        Some(limit) if limit < DEFAULT_MAP_COUNT => Check::note(
            GROUP,
            name,
            format!("vm.max_map_count is {limit}, below the usual {DEFAULT_MAP_COUNT}: a large move may stop half-way"),
        )
        .with_fix(format!("sysctl vm.max_map_count={DEFAULT_MAP_COUNT}")),
        Some(limit) => Check::fine(
            GROUP,
            name,
            format!("vm.max_map_count is {limit} mappings a process"),
        ),
    }
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn seccomp() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    match mode.map(str::trim) {
        Some("0") => Check::fine(GROUP, "seccomp", "no seccomp filter applies to this process"),
        Some("2") => Check::note(
            GROUP,
            "seccomp",
            "a seccomp filter applies to this process and to the programs it starts; the self-test below shows \
             whether the shim works under it",
        ),
        _ => Check::note(
            GROUP,
            "seccomp",
            "unknown whether a seccomp filter applies to this process (/proc/self/status)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::large_folios;

    #[test]
    fn warns_of_the_large_folio_bug_from_6_17_0_to_6_17_8() {
        for release in ["6.17.0", "6.17.0-rc7", "6.17.0-8-generic", "6.17.8+deb14-amd64", "6.17-x"]
        {
            assert!(large_folios(release).is_some(), "{release}");
        }
        for release in ["6.17.9", "6.17.10-1", "6.16.12", "6.18.0", "7.17.1", "5.6.17", "x", ""] {
            assert!(large_folios(release).is_none(), "{release}");
        }
    }
}
