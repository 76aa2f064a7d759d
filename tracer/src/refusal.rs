//! Why a process that runs already cannot be traced, found out before it is touched.

use std::{fs, io};

use anyhow::{Context as _, Result, bail};

use crate::arch;
use crate::ptrace::Pid;

/// Checks that a process may be traced, as far as can be seen from outside.
///
/// # Errors
/// It has ended, is a thread or traced already, or is for another processor.
pub(crate) fn check_process(pid: Pid) -> Result<Status> {
    let status = Status::read(pid).with_context(|| format!("{pid}: no such process"))?;
    status.check(pid)?;
    check_program(pid)?;
    Ok(status)
}

/// Fields of `/proc/PID/status`.
pub(crate) struct Status(String);

impl Status {
    fn read(pid: Pid) -> Option<Self> {
        fs::read_to_string(format!("/proc/{pid}/status")).ok().map(Self)
    }

    fn field(&self, name: &str) -> &str {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("").trim()
    }

    #[cfg(target_arch = "x86_64")]
    fn is_stopped(&self) -> bool {
        self.field("State").starts_with('T')
    }

    fn check(&self, pid: Pid) -> Result<()> {
        if self.field("State").starts_with(['Z', 'X']) {
            bail!("{pid}: has ended");
        }
        if self.field("Tgid") != pid.to_string() {
            bail!("{pid}: is a thread; attach to its process, {}", self.field("Tgid"));
        }
        match self.field("TracerPid") {
            "0" | "" => Ok(()),
            tracer => bail!(
                "{pid}: is traced by process {tracer} (a debugger, strace, …); end that first"
            ),
        }
    }

    /// Checks that nothing forbids the library in the process.
    ///
    /// # Errors
    /// It is stopped, or has a shadow stack or a seccomp filter.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn check_for_library(&self, pid: Pid) -> Result<()> {
        if self.is_stopped() {
            bail!("{pid}: is stopped; continue it first: kill -CONT {pid}");
        }
        if self.field("x86_Thread_features").contains("shstk") {
            bail!("{pid}: has a shadow stack, which no injected call can return through");
        }
        if self.field("Seccomp") != "0" && !self.field("Seccomp").is_empty() && !self.is_contained()
        {
            bail!(
                "{pid}: is under a seccomp filter, which may kill it for a system call of the library"
            );
        }
        Ok(())
    }

    /// Whether the filter is a container's, which admits what any program needs. Process 1 then has
    /// the same filters.
    #[cfg(target_arch = "x86_64")]
    fn is_contained(&self) -> bool {
        let Some(first) = Self::read(1) else { return false };
        ["Seccomp", "Seccomp_filters"].iter().all(|name| first.field(name) == self.field(name))
    }
}

fn check_program(pid: Pid) -> Result<()> {
    let path = format!("/proc/{pid}/exe");
    let mut start = [0; 20];
    match fs::File::open(&path).and_then(|mut file| io::Read::read_exact(&mut file, &mut start)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{pid}: is a kernel thread, or has ended");
        }
        Err(error) => bail!("{}", explain_seize(pid, &error)),
    }
    // Class 2 is 64 bits.
    if start[4] != 2 || start[18] != arch::ELF_MACHINE {
        bail!("{pid}: is not a 64-bit program for {}", std::env::consts::ARCH);
    }
    Ok(())
}

/// Why a process cannot be traced.
pub(crate) fn explain_seize(pid: Pid, error: &io::Error) -> String {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    // SAFETY: no preconditions.
    let own = unsafe { libc::geteuid() }.to_string();
    let owner = Status::read(pid)
        .map(|status| status.field("Uid").split_whitespace().next().unwrap_or_default().to_owned());
    let reason = match (owner, scope.trim()) {
        (None, _) => "it has ended",
        (Some(owner), _) if own != "0" && owner != own => {
            "it belongs to another user; attach as that user or as root"
        }
        (_, "1") => {
            "Yama lets only its ancestors trace it (kernel.yama.ptrace_scope is 1); attach as root"
        }
        (_, "2") => "only root may trace (kernel.yama.ptrace_scope is 2)",
        (_, "3") => "nobody may trace here (kernel.yama.ptrace_scope is 3)",
        _ => "it has privileges that this user has not, or a sandbox forbids ptrace",
    };
    format!("{pid}: cannot be traced: {reason}: {error}")
}
