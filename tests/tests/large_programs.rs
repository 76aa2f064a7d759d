//! Large programs that nobody here wrote, doing their own work: the same status, and the same output where it is the
//! same twice, without the library and with it (a trace, and every move emulated). `cargo xtask test --programs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mremap_tests::artifacts::Artifacts;
use mremap_tests::need;

/// A shell script in an empty directory, alone or under the library.
fn run_script(script: &str, under_library: bool) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().join("traces");
    let work = directory.path().join("work");
    for made in [&traces, &work] {
        fs::create_dir(made).expect("a directory");
    }
    let mut command = Command::new("sh");
    command
        .args(["-euc", script])
        .current_dir(&work)
        .env("HOME", &work)
        .env("TMPDIR", &work)
        .env("LC_ALL", "C")
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("LD_PRELOAD");
    if under_library {
        command
            .env("LD_PRELOAD", Artifacts::get().shim())
            .env("MREMAP_SHIM_MODE", "emulate")
            .env("MREMAP_SHIM_TRACE_SIZE", "1M")
            .env("MREMAP_SHIM_TRACE", &traces);
    }
    let output = command.output().expect("a shell runs");
    let loaded = fs::read_dir(&traces).expect("the traces").next().is_some();
    assert_eq!(loaded, under_library, "the library was loaded: {output:?}");
    output
}

/// The script must succeed, and print the same with the library and without.
fn check(script: &str) {
    let alone = run_script(script, false);
    assert!(alone.status.success(), "alone: {alone:?}");
    let under = run_script(script, true);
    assert_eq!(under.status, alone.status, "{under:?}");
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text(&under), text(&alone));
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn pythons_own_tests_of_mmap_and_fork() {
    let tests = fs::read_dir("/usr/lib").expect("a directory").flatten();
    let has_tests = |path: &PathBuf| path.join("test/test_mmap.py").is_file();
    let Some(_) = tests.map(|entry| entry.path()).find(has_tests) else {
        return need::skip(
            "Python's own tests: apt-get install libpython3.N-testsuite, N as in python3 --version",
        );
    };
    // The figures that it prints are times.
    check(
        "/usr/bin/python3 -m test test_mmap test_fork1 >log 2>&1 || { cat log; exit 1; }; grep -c 'tests OK' log",
    );
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn sqlite_builds_and_vacuums_a_large_mapped_database() {
    if need::program("sqlite3", "sqlite3").is_none() {
        return;
    }
    check(
        "sqlite3 -batch base 'PRAGMA mmap_size=1073741824; PRAGMA synchronous=OFF;
         CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400000)
         INSERT INTO t(v) SELECT hex(zeroblob(100)) || i FROM n;
         CREATE INDEX at ON t(v); DELETE FROM t WHERE id % 2; VACUUM;
         SELECT count(*), sum(length(v)) FROM t; PRAGMA integrity_check;'
         cksum base | cut -d' ' -f2",
    );
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn gcc_compiles_the_same_file_to_the_same_program() {
    if need::program("gcc", "gcc").is_none() {
        return;
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let examples = examples.display();
    check(&format!(
        "gcc -std=gnu11 -O3 -flto -pthread -o a.out {examples}/signal_moves.c; cksum <a.out; ./a.out"
    ));
}

#[test]
#[ignore = "large; cargo xtask test --programs runs it"]
fn git_collects_its_garbage() {
    if need::program("git", "git").is_none() {
        return;
    }
    check(
        "git init -q .; git config user.name n; git config user.email e@example.org; git config gc.auto 0
         export GIT_AUTHOR_DATE='1 Jan 2025 00:00 +0000' GIT_COMMITTER_DATE='1 Jan 2025 00:00 +0000'
         for i in 1 2 3 4 5 6 7 8; do seq $i 20000 >file; git add file; git commit -qm $i; done
         git gc -q --aggressive; git fsck --full; git rev-parse HEAD; git count-objects -v | grep -E 'count|in-pack'",
    );
}
